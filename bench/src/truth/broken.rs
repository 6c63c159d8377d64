//! Builds of echolot that lie, each in one way: the judge must find out every one of them.

use super::{Programs, run, scenario};
use std::process::Command;

/// What echolot's build script takes as ECHOLOT_BROKEN, and the scenario that shows what each breaks.
const BROKEN: [(&str, &str); 6] = [
    ("sequence", "clean"),
    ("late", "late"),
    ("bit", "reuse"),
    ("duplicate", "duplicates"),
    ("rtt", "jitter"),
    ("hop", "hops"),
];

/// Builds each and judges it. True: all were found out.
pub(super) fn run_all(programs: &Programs) -> Result<bool, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // A folder of its own: the sound build beside must stay what it is.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/broken");
    let mut found = true;
    for (lie, name) in BROKEN {
        let mut build = Command::new(&cargo);
        build.args(["build", "--locked", "-q", "-p", "echolot", "--bin", "echolot"]).env("ECHOLOT_BROKEN", lie);
        build.arg("--target-dir").arg(&folder).current_dir(env!("CARGO_MANIFEST_DIR"));
        let status = build.status().map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("echolot with {lie} broken can't be built"));
        }
        let broken = Programs { echolot: folder.join("debug/echolot"), ..programs.clone() };
        for (name, scenario) in scenario::all(&super::folder(), &[name.to_owned()])? {
            let (sound, _) = run(&name, &scenario, programs)?;
            let (verdict, _) = run(&name, &scenario, &broken)?;
            println!("{lie}: {name} has {} mismatches, {} when sound", verdict.mismatches, sound.mismatches);
            println!("  such as {}", verdict.told.first().map_or("none", String::as_str));
            if sound.mismatches > 0 {
                println!("sound, and yet:\n{sound}");
            }
            // Nothing to judge is no lie found out.
            found &= verdict.mismatches > 0 && verdict.judged > 0 && sound.mismatches == 0 && sound.judged > 0;
        }
    }
    Ok(found)
}
