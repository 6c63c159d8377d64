#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::{
    base::{
        Nanos,
        samples::{answered, lost},
    },
    results::{Format, WallClock, tests::plan},
    worker::{Sink, queue},
};
use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::Command,
    sync::{Mutex, mpsc},
};

const CLOCK: WallClock = WallClock { offset_ns: 0 };

fn encoder(format: Format) -> Encoder {
    Encoder::new(format, Arc::new(plan()), CLOCK)
}

/// A folder that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("el-results-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone_or_not = fs::remove_dir_all(&self.0);
    }
}

/// Waits, within reason, until something is so.
fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        thread::sleep(Duration::from_millis(2));
    }
}

fn start(writer: Writer, queues: Vec<Queue>) -> Writing {
    spawn(writer, queues, |_| {}, |error| panic!("no refusal was expected: {error}")).unwrap()
}

#[test]
fn what_two_loops_push_is_written_once_each_and_observed() {
    let folder = Folder::new("two");
    let path = folder.file("out.csv");
    let ((one, from_one), (two, from_two)) = (queue(64), queue(64));
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let writer =
        Writer::open(encoder(Format::Csv), Some(&path)).unwrap().only([Outcome::Answered].into_iter().collect());
    let writing = spawn(
        writer,
        vec![from_one, from_two],
        move |_| *count.lock().unwrap() += 1,
        |error| panic!("no refusal was expected: {error}"),
    )
    .unwrap();
    let push = |sink: Sink, parity: u64| {
        move || {
            for n in (0..20_000u64).filter(|n| n % 2 == parity) {
                let next = if n % 4 < 2 {
                    answered(1, n)
                } else {
                    Settlement { number: crate::base::ProbeNumber(n), ..lost(0) }
                };
                while sink.free() == 0 {
                    thread::yield_now();
                }
                assert!(sink.push(next));
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(push(one, 0));
        scope.spawn(push(two, 1));
    });
    let report = writing.join();
    assert_eq!((report.written, report.dropped, report.reader_gone), (10_000, 0, false));
    assert!(report.error.is_none());
    assert_eq!(*seen.lock().unwrap(), 20_000);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("time,sent_ns,"));
    let mut numbers: Vec<u64> = text.lines().skip(1).map(|l| l.split(',').nth(5).unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20_000).filter(|n| n % 4 < 2).collect::<Vec<_>>());
}

#[test]
fn a_line_is_seen_while_the_sink_is_still_open() {
    let folder = Folder::new("prompt");
    let path = folder.file("out.jsonl");
    let (sink, from) = queue(8);
    let writing = start(Writer::open(encoder(Format::Jsonl), Some(&path)).unwrap(), vec![from]);
    assert!(sink.push(answered(1, 7)));
    wait_for("the line is in the file", || fs::read_to_string(&path).unwrap().ends_with("}\n"));
    drop(sink);
    assert_eq!(writing.join().written, 1);
}

#[test]
fn an_output_that_cannot_be_made_says_what_to_do() {
    let error = Writer::open(encoder(Format::Text), Some(Path::new("/nonexistent/out"))).err().unwrap();
    assert_eq!(
        error.to_string(),
        "/nonexistent/out: can't create the output file: No such file or directory (os error 2). Name another file with \
         -o, or leave -o out to write to standard output"
    );
}

#[test]
fn a_device_that_is_full_is_told_once_and_counted() {
    let (sink, from) = queue(1 << 16);
    let (told, tells) = mpsc::channel();
    let writer = Writer::open(encoder(Format::Csv), Some(Path::new("/dev/full"))).unwrap();
    let writing = spawn(writer, vec![from], |_| {}, move |error| told.send(error.to_string()).unwrap()).unwrap();
    for n in 0..50_000 {
        assert!(sink.push(answered(1, n)));
    }
    assert!(
        tells.recv_timeout(Duration::from_secs(20)).unwrap().starts_with("/dev/full: can't write results: No space")
    );
    // 2 MiB of them wait for room; the rest are dropped while it runs.
    wait_for("some are dropped", || writing.dropped() > 0);
    drop(sink);
    let report = writing.join();
    assert_eq!((report.written, report.dropped), (0, 50_000));
    assert_eq!(report.error.unwrap().source.kind(), io::ErrorKind::StorageFull);
    assert!(tells.recv().is_err(), "told twice");
}

#[test]
fn a_reader_that_goes_away_ends_writing_quietly() {
    let folder = Folder::new("pipe");
    let path = folder.file("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = {
        let path = path.clone();
        thread::spawn(move || fs::File::open(path).unwrap().read_exact(&mut [0; 8]).unwrap())
    };
    let (sink, from) = queue(1 << 12);
    let writing = start(Writer::open(encoder(Format::Text), Some(&path)).unwrap(), vec![from]);
    assert!(sink.push(answered(1, 0)));
    reader.join().unwrap();
    wait_for("the writer notices", || {
        sink.push(answered(1, 1));
        writing.reader_gone()
    });
    drop(sink);
    let report = writing.join();
    assert!(report.reader_gone && report.error.is_none());
    assert_eq!(report.dropped, 0);
}

/// A file system of 64 KiB, where root may mount one.
struct TinyDisk(Folder);

impl TinyDisk {
    fn mount(name: &str) -> Option<Self> {
        let folder = Folder::new(name);
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&folder.0).output();
        mounted.is_ok_and(|out| out.status.success()).then_some(Self(folder))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _unmounted_or_not = Command::new("umount").arg(&self.0.0).status();
    }
}

#[test]
fn a_disk_that_fills_never_holds_a_torn_line_and_gets_what_waited_once_there_is_room() {
    let Some(disk) = TinyDisk::mount("disk") else {
        println!("skipped: needs root");
        return;
    };
    let (path, ballast) = (disk.0.file("out.jsonl"), disk.0.file("ballast"));
    fs::write(&ballast, vec![0; 20_000]).unwrap();
    let (sink, from) = queue(1 << 12);
    let (told, tells) = mpsc::channel();
    let writer = Writer::open(encoder(Format::Jsonl), Some(&path)).unwrap();
    let writing = spawn(writer, vec![from], |_| {}, move |error| told.send(error.to_string()).unwrap()).unwrap();
    // 250 lines of 200 bytes need 50 kB; there are 45 or less.
    for n in 0..250 {
        assert!(sink.push(Settlement { sent: Nanos(n), ..answered(1, n) }));
    }
    let told = tells.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(told.contains("out.jsonl: can't write results: No space left on device"), "{told}");
    wait_for("the file ends with a whole line", || fs::read_to_string(&path).unwrap().ends_with("}\n"));
    let before = fs::read_to_string(&path).unwrap().lines().count();
    assert!((1..250).contains(&before), "{before} lines on a full disk");
    fs::remove_file(&ballast).unwrap();
    wait_for("the rest follows", || fs::read_to_string(&path).unwrap().lines().count() == 250);
    drop(sink);
    let report = writing.join();
    assert_eq!((report.written, report.dropped), (250, 0));
    assert!(report.error.is_some());
    let told: Vec<String> = tells.iter().collect();
    assert!(told.len() == 1 && told[0].ends_with("out.jsonl: results are written again"), "{told:?}");
    for (n, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["seq"].as_u64(), Some(n as u64));
    }
}

/// How fast, when asked: `cargo test -p echolot --lib measure_records -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement for people to look at: it prints rates and judges nothing"]
fn measure_records_a_second() {
    const N: u64 = 10_000_000;
    for format in [Format::Jsonl, Format::Csv, Format::Text] {
        let mut encoder = encoder(format);
        let mut out = Vec::with_capacity(CHUNK + 512);
        let (mut bytes, start) = (0, Instant::now());
        for n in 0..N {
            encoder.encode(&Settlement { sent: Nanos(n * 300), ..answered((n & 1) as u32, n) }, &mut out);
            if out.len() >= CHUNK {
                bytes += out.len();
                out.clear();
            }
        }
        let encoding = start.elapsed().as_secs_f64();
        let (sink, from) = queue(1 << 16);
        let writer = Writer::open(self::encoder(format), Some(Path::new("/dev/null"))).unwrap();
        let start = Instant::now();
        let writing = self::start(writer, vec![from]);
        for n in 0..N {
            while sink.free() == 0 {
                std::hint::spin_loop();
            }
            sink.push(Settlement { sent: Nanos(n * 300), ..answered((n & 1) as u32, n) });
        }
        drop(sink);
        assert_eq!(writing.join().written, N);
        let all = start.elapsed().as_secs_f64();
        println!(
            "{format:?}: {:.2} M/s encoded ({} bytes a line), {:.2} M/s from push to write",
            N as f64 / encoding / 1e6,
            bytes as u64 / N,
            N as f64 / all / 1e6
        );
    }
}
