//! `process_*` from /proc/self.

use super::{
    families::{self as f, Family},
    format::{Float, Text},
};
use std::{fs, path::Path};

/// What of it can be read. Where /proc is not mounted that is nothing, and the families are absent.
pub(super) fn write(text: &mut Text) {
    for (family, value) in read(Path::new("/proc")).unwrap_or_default() {
        text.header(family);
        text.sample((family.name, ""), "", None, Float(value));
    }
}

/// None where a file lacks what proc(5) promises.
fn read(proc: &Path) -> Option<Vec<(Family, f64)>> {
    let own = proc.join("self");
    let text = |path: &Path| fs::read_to_string(path).ok();
    let stat = Stat::parse(&text(&own.join("stat"))?)?;
    let (tick, page) = ticks_and_page(&fs::read(own.join("auxv")).ok()?)?;
    let boot = field(&text(&proc.join("stat"))?, "btime")?;
    // The descriptor that lists the folder is one of them, and gone afterwards.
    let open = fs::read_dir(own.join("fd")).ok()?.count().saturating_sub(1);
    let max = field(&text(&own.join("limits"))?, "Max open files").unwrap_or(f64::INFINITY);
    #[expect(clippy::cast_precision_loss, reason = "a number of descriptors")]
    let open = open as f64;
    Some(vec![
        (f::PROCESS_CPU, stat.cpu_ticks / tick),
        (f::PROCESS_OPEN_FDS, open),
        (f::PROCESS_MAX_FDS, max),
        (f::PROCESS_VIRTUAL, stat.virtual_bytes),
        (f::PROCESS_RESIDENT, stat.resident_pages * page),
        (f::PROCESS_START, boot + stat.start_ticks / tick),
        (f::PROCESS_THREADS, stat.threads),
    ])
}

/// What we need of /proc/self/stat.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    /// proc(5) numbers the fields from 1; the second is the command in parentheses and may hold anything, even
    /// parentheses and blanks, so reading begins after the last of them, at field 3.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Clock ticks a second and bytes a page, from the auxiliary vector: what sysconf(3) would say, without a C call.
fn ticks_and_page(auxv: &[u8]) -> Option<(f64, f64)> {
    const AT_PAGESZ: usize = 6;
    const AT_CLKTCK: usize = 17;
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| Some(usize::from_ne_bytes(bytes.try_into().ok()?));
    let find = |key: usize| {
        let pair = auxv.chunks_exact(2 * WORD).find(|pair| word(&pair[..WORD]) == Some(key))?;
        let value = u32::try_from(word(&pair[WORD..])?).ok()?;
        (value > 0).then_some(f64::from(value))
    };
    Some((find(AT_CLKTCK)?, find(AT_PAGESZ)?))
}

/// The first number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test panics where it fails")]
    use super::*;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    fn now(what: Family) -> f64 {
        read(Path::new("/proc")).unwrap().into_iter().find(|(family, _)| *family == what).unwrap().1
    }

    #[test]
    fn a_command_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let tail = "S 1 1 1 0 -1 4 5 6 7 8 250 50 0 0 20 0 3 0 9000 1048576 77 18446744073709551615";
        let plain = Stat::parse(&format!("12 (echolot) {tail}")).unwrap();
        assert_eq!(plain, Stat::parse(&format!("12 (a) b (c 1 2) {tail}")).unwrap());
        assert_eq!(
            plain,
            Stat {
                cpu_ticks: 300.0,
                threads: 3.0,
                start_ticks: 9000.0,
                virtual_bytes: 1_048_576.0,
                resident_pages: 77.0
            }
        );
        assert_eq!(Stat::parse("12 (echolot) S 1 1"), None);
    }

    #[test]
    fn cpu_time_grows_with_the_work_done() {
        let (before, begun) = (now(f::PROCESS_CPU), Instant::now());
        while now(f::PROCESS_CPU) - before < 0.05 {
            assert!(begun.elapsed().as_secs() < 20, "20 s of work were not 50 ms of CPU time");
        }
    }

    #[test]
    fn the_process_is_small_young_and_has_files_open() {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = unix - now(f::PROCESS_START);
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
        let resident = now(f::PROCESS_RESIDENT);
        assert!((1e6..8e9).contains(&resident), "{resident} bytes resident");
        assert!(now(f::PROCESS_VIRTUAL) >= resident);
        assert!((3.0..=now(f::PROCESS_MAX_FDS)).contains(&now(f::PROCESS_OPEN_FDS)));
        assert!(now(f::PROCESS_THREADS) >= 1.0);
    }

    #[test]
    fn without_proc_there_is_nothing() {
        assert!(read(Path::new("/nonexistent")).is_none());
    }
}
