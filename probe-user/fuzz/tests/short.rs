//! The short run of each fuzz target: its corpus, and mutations of it from a seed. No input of a few kilobytes may make anything
//! panic, take long, or take much memory.
//!
//! `ECHOLOT_SEED` chooses other mutations.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use allocation_counter::measure;
use echolot_fuzz::{TARGETS, Target, reply_seeds};
use fastrand::Rng;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

const SEED: u64 = 0x0ec4_0107;
const MUTATIONS: usize = 100_000;
/// What an input may grow to, bytes.
const LONGEST: usize = 4_096;
/// At a time. A plan of 65,536 targets takes some of them.
const MOST_MEMORY: u64 = 64 << 20;
/// Any takes microseconds; this is for a machine that stands still.
const LONGEST_TIME: Duration = Duration::from_secs(20);

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// In the order of their names: a seed gives the same mutations everywhere.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    xtask::fuzz::corpus(&folder(target)).unwrap().into_iter().map(|(_, bytes)| bytes).collect()
}

fn check(target: &Target, input: &[u8]) {
    let begun = Instant::now();
    let mut panicked = None;
    let took = measure(|| panicked = catch_unwind(AssertUnwindSafe(|| (target.check)(input))).err());
    let shown = || String::from_utf8_lossy(input).into_owned();
    if let Some(panic) = panicked {
        let file = std::env::temp_dir().join(format!("echolot-fuzz-{}-{}", target.name, std::process::id()));
        fs::write(&file, input).unwrap();
        println!("{}: this input, also in {}:\n{}", target.name, file.display(), shown());
        resume_unwind(panic);
    }
    assert!(took.bytes_max < MOST_MEMORY, "{}: {} bytes for\n{}", target.name, took.bytes_max, shown());
    assert!(begun.elapsed() < LONGEST_TIME, "{}: {:?} for\n{}", target.name, begun.elapsed(), shown());
}

/// Some changes, one after the other.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    for _ in 0..rng.usize(1..=6) {
        let at = rng.usize(..=input.len());
        let part = at..(at + rng.usize(..=32)).min(input.len());
        match rng.u8(..7) {
            0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
            1 if at < input.len() => input[at] = rng.u8(..),
            2 => drop(input.drain(part)),
            3 => {
                let copy = input[part].to_vec();
                let to = rng.usize(..=input.len());
                drop(input.splice(to..to, copy));
            }
            4 => {
                let other = &corpus[rng.usize(..corpus.len())];
                let from = rng.usize(..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => drop(input.splice(at..at, words[rng.usize(..words.len())].bytes())),
        }
    }
    input.truncate(LONGEST);
}

fn short_run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seed = std::env::var("ECHOLOT_SEED").map_or(SEED, |text| text.parse().expect("ECHOLOT_SEED is a whole number"));
    println!("{name}: seed {seed}");
    let corpus = corpus(target);
    assert!(!corpus.is_empty());
    corpus.iter().for_each(|input| check(target, input));
    let mut rng = Rng::with_seed(seed);
    for _ in 0..MUTATIONS {
        let mut input = corpus[rng.usize(..corpus.len())].clone();
        mutate(&mut rng, &mut input, &corpus, target.words);
        check(target, &input);
    }
}

#[test]
fn replies() {
    short_run("reply");
}

#[test]
fn configurations() {
    short_run("config");
}

#[test]
fn target_files() {
    short_run("targets");
}

#[test]
fn lists() {
    short_run("list");
}

#[test]
fn files_of_as_numbers() {
    short_run("asn");
}

#[test]
fn every_target_is_run_here() {
    assert_eq!(TARGETS.map(|target| target.name), ["reply", "config", "targets", "list", "asn"]);
}

/// Replies are no text: their corpus is made. After a change of the wire's form, `ECHOLOT_WRITE_CORPUS=1` makes it anew.
#[test]
fn the_corpus_of_replies_is_what_goes_over_the_wire() {
    if std::env::var_os("ECHOLOT_WRITE_CORPUS").is_some() {
        for (name, bytes) in reply_seeds() {
            let lines = bytes
                .chunks(16)
                .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
            fs::write(
                folder(&TARGETS[0]).join(name).with_extension("hex"),
                lines.collect::<Vec<_>>().join("\n") + "\n",
            )
            .unwrap();
        }
    }
    let mut made: Vec<_> = reply_seeds().into_iter().map(|(name, bytes)| (format!("{name}.hex"), bytes)).collect();
    made.sort();
    assert_eq!(xtask::fuzz::corpus(&folder(&TARGETS[0])).unwrap(), made);
}
