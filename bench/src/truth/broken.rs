//! Builds of echolot that lie, each in one way: the judge must find out every one of them.

use super::{Programs, run, scenario};
use std::process::Command;

/// What echolot's build script takes as ECHOLOT_BROKEN.
struct Lie {
    name: &'static str,
    /// The scenario that shows it.
    scenario: &'static str,
    /// What the judge must say among other things: that it is found out for what it is.
    about: &'static str,
}

const fn lie(name: &'static str, scenario: &'static str, about: &'static str) -> Lie {
    Lie { name, scenario, about }
}

const LIES: [Lie; 17] = [
    lie("sequence", "clean", ""),
    lie("late", "late", ""),
    lie("bit", "reuse", ""),
    lie("duplicate", "duplicates", ""),
    lie("rtt", "jitter", ""),
    // A quote is taken for the probe with the time to live beside it.
    lie("hop", "hops", ": it says "),
    // Another router than the one that spoke.
    lie("hop-router", "hops", "whoever said something was"),
    // One less than the reply arrived with; one more than was quoted.
    lie("hop-ttl", "hops", "reply_ttl"),
    lie("hop-quoted", "hops", "quoted_ttl"),
    // By 21 ms, where each path may take 20; by half a millisecond, which is before the reply left.
    lie("hop-slow", "hops", "its path took"),
    lie("hop-fast", "hops", "the reply left"),
    // What a router says after the timeout counts as said in time.
    lie("hop-late", "hops", "must be lost"),
    // Quotes without proof are taken.
    lie("hop-forged", "hops", "the reply left"),
    // Of one probe in eight what a router says is not heard.
    lie("hop-lost", "hops", "must be hop"),
    // What is said twice is counted twice; a line of the path is there twice, or not at all.
    lie("hop-duplicate", "hops", ": hop "),
    lie("hop-twice", "hops", "second result"),
    lie("hop-missing", "hops", "not told of"),
];

/// Builds each of those named (none: all) and judges it. True: all were found out.
pub(super) fn run_all(names: &[String], programs: &Programs) -> Result<bool, String> {
    let known = LIES.map(|lie| lie.name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("{unknown}: no such lie; there are {}", known.join(", ")));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // A folder of its own: the sound build beside must stay what it is.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/broken");
    let mut found = true;
    for lie in LIES.iter().filter(|lie| names.is_empty() || names.iter().any(|name| name == lie.name)) {
        let mut build = Command::new(&cargo);
        build.args(["build", "--locked", "-q", "-p", "echolot", "--bin", "echolot"]).env("ECHOLOT_BROKEN", lie.name);
        build.arg("--target-dir").arg(&folder).current_dir(env!("CARGO_MANIFEST_DIR"));
        let status = build.status().map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("echolot with {} broken can't be built", lie.name));
        }
        let broken = Programs { echolot: folder.join("debug/echolot"), ..programs.clone() };
        for (name, scenario) in scenario::all(&super::folder(), &[lie.scenario.to_owned()])? {
            let (sound, _) = run(&name, &scenario, programs)?;
            let (verdict, _) = run(&name, &scenario, &broken)?;
            let told = verdict.told.iter().find(|told| told.contains(lie.about));
            let (lie, mismatches) = (lie.name, verdict.mismatches);
            println!("{lie}: {name} has {mismatches} mismatches, {} when sound", sound.mismatches);
            match told {
                Some(told) => println!("  such as {told}"),
                None => println!("  none says what it lies about:\n{verdict}"),
            }
            if sound.mismatches > 0 {
                println!("sound, and yet:\n{sound}");
            }
            // Nothing to judge is no lie found out.
            found &= told.is_some() && verdict.judged > 0 && sound.mismatches == 0 && sound.judged > 0;
        }
    }
    Ok(found)
}
