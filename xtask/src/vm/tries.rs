//! One sweep of the scenario `tries`, judged by the card's and the kernel's own counters. Pure.

/// Kibibytes of memory that may go from the first half of a try to its end: the sampler itself moves it by some hundreds, and a
/// page pool forgotten at each of a thousand calls a second would cost this in two seconds.
const FLAT: u64 = 8_192;
/// Seconds from which on a try says something of memory.
const LONG: usize = 10;

/// All sweeps of a machine.
#[derive(Default)]
pub(super) struct Tries(Vec<Tried>);

/// One sweep.
#[derive(Default)]
struct Tried {
    label: String,
    engine: String,
    status: String,
    /// What echolot printed.
    told: Vec<String>,
    /// Its summary, JSON.
    summary: String,
    before: Counters,
    after: Counters,
    samples: Vec<Sample>,
}

/// Frames, as the cards count them.
#[derive(Clone, Copy, Default)]
struct Counters {
    sent: u64,
    received: u64,
    far_received: u64,
    far_sent: u64,
}

/// The kernel at one moment.
#[derive(Clone, Copy)]
struct Sample {
    /// Seconds into the try; none before and after it.
    second: Option<u64>,
    /// Memory to be had, KiB.
    available: u64,
    /// Test runs so far.
    calls: u64,
    /// Page pools made and let go so far.
    made: u64,
    freed: u64,
}

impl Tries {
    /// Takes a line of the report: `try LABEL …` begins one, and `try-WORD LABEL …` is about it.
    pub(super) fn line(&mut self, word: &str, rest: &str) {
        let (label, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if word == "try" {
            let engine = rest.split(' ').next().unwrap_or_default();
            self.0.push(Tried { label: label.into(), engine: engine.into(), ..Tried::default() });
        } else if let Some(word) = word.strip_prefix("try-")
            && let Some(tried) = self.0.iter_mut().rfind(|tried| tried.label == label)
        {
            tried.line(word, rest);
        }
    }

    /// What was found wrong, a sentence each.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.0.iter().flat_map(Tried::wrong).collect()
    }

    /// What was seen, for people; nothing where nothing was tried.
    pub(super) fn table(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let head = [
            "try",
            "engine, mode",
            "probes",
            "answered",
            "lost",
            "unheard",
            "unsent",
            "sent",
            "card sent",
            "far got",
            "calls/s",
            "pools",
            "memory MiB",
        ];
        let mut rows = vec![head.map(String::from)];
        rows.extend(self.0.iter().map(Tried::row));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column < 2 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        for tried in &self.0 {
            for line in tried.told.iter().filter(|line| !line.contains(" INFO ")) {
                text.push_str(&format!("  {}: {}\n", tried.label, line.trim()));
            }
        }
        text
    }
}

impl Tried {
    fn line(&mut self, word: &str, rest: &str) {
        let numbers = |text: &str| -> Vec<u64> { text.split(' ').filter_map(|number| number.parse().ok()).collect() };
        match word {
            "ended" => self.status = rest.into(),
            "told" => self.told.push(rest.into()),
            "summary" => self.summary = rest.into(),
            "counters" => {
                let (when, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                if let [sent, received, far_received, far_sent] = numbers(rest)[..] {
                    let counters = Counters { sent, received, far_received, far_sent };
                    if when == "before" { self.before = counters } else { self.after = counters }
                }
            }
            "memory" => {
                let (second, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                if let [available, _slab, _percpu, calls, made, freed] = numbers(rest)[..] {
                    let second = second.parse().ok();
                    self.samples.push(Sample { second, available, calls, made, freed });
                }
            }
            _ => {}
        }
    }

    /// A number of the summary's.
    fn number(&self, key: &str) -> Option<u64> {
        let (_, rest) = self.summary.split_once(&format!("\"{key}\":"))?;
        let rest = rest.trim_start();
        rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
    }

    fn word(&self, key: &str) -> Option<&str> {
        self.summary.split_once(&format!("\"{key}\":"))?.1.split('"').nth(1)
    }

    /// Probes that echolot says have left this machine.
    fn sent(&self) -> Option<u64> {
        Some(self.number("probes")? - self.number("unsent")?)
    }

    fn card(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        of(&self.after).saturating_sub(of(&self.before))
    }

    /// Median memory to be had in this part of the try, KiB.
    fn available(&self, part: impl Fn(usize, usize) -> bool) -> Option<u64> {
        let during: Vec<&Sample> = self.samples.iter().filter(|sample| sample.second.is_some()).collect();
        let chosen = during.iter().enumerate().filter(|(at, _)| part(*at, during.len())).map(|(_, one)| one.available);
        let mut chosen: Vec<u64> = chosen.collect();
        chosen.sort_unstable();
        chosen.get(chosen.len() / 2).copied()
    }

    /// Memory once all is under way, and at the end: the second and the last quarter.
    fn memory(&self) -> Option<(u64, u64)> {
        let early = self.available(|at, all| at * 4 >= all && at * 2 < all)?;
        Some((early, self.available(|at, all| at * 4 >= 3 * all)?))
    }

    /// Calls a second over the seconds in which there were any.
    fn calls(&self) -> Option<u64> {
        let during: Vec<&Sample> = self.samples.iter().filter(|sample| sample.second.is_some()).collect();
        let first = during.iter().rev().find(|sample| sample.calls == during[0].calls)?;
        let last = during.iter().find(|sample| sample.calls == during[during.len() - 1].calls)?;
        let seconds = last.second?.checked_sub(first.second?).filter(|seconds| *seconds > 0)?;
        Some((last.calls - first.calls) / seconds)
    }

    fn wrong(&self) -> Vec<String> {
        let label = &self.label;
        let Some(sent) = self.sent() else {
            let told = self.told.join("; ");
            return vec![format!("{label}: echolot ended with status {} and no summary: {told}", self.status)];
        };
        let mut wrong = Vec::new();
        let (card, far) = (self.card(|counters| counters.sent), self.card(|counters| counters.far_received));
        // virtio_net leaves zero-copy frames out of its statistics: then the far end's are a lower bound.
        let agrees = if card == 0 { far <= sent } else { card == sent };
        if !agrees {
            wrong.push(format!(
                "{label}: {sent} probes are said to be sent; the card sent {card} frames, the far one got {far}"
            ));
        }
        let (answers, received) = (self.card(|counters| counters.far_sent), self.number("answered").unwrap_or(0));
        if answers > 0 && received == 0 {
            let card = self.card(|counters| counters.received);
            wrong.push(format!("{label}: of {answers} answers none was received (by the card: {card})"));
        }
        // What is over within some seconds is beginning all the time.
        let long = self.samples.len() >= LONG;
        if let Some((early, late)) = self.memory().filter(|(early, late)| long && early.saturating_sub(*late) > FLAT) {
            wrong.push(format!("{label}: memory is not flat: {early} KiB were to be had, and {late} KiB at the end"));
        }
        wrong
    }

    fn row(&self) -> [String; 13] {
        let number = |key| self.number(key).map_or_else(|| "-".to_owned(), |number| number.to_string());
        let by = |key| self.word(key).unwrap_or("-").to_owned();
        let engine = if self.summary.is_empty() { self.engine.clone() } else { by("engine") };
        let pools = self.samples.iter().map(|sample| sample.made.saturating_sub(sample.freed)).max().unwrap_or(0);
        let live = engine == "live-frames";
        let memory = self.memory().map(|(early, late)| format!("{} -> {}", early / 1024, late / 1024));
        [
            self.label.clone(),
            format!("{engine}, {}", by("mode")),
            number("probes"),
            number("answered"),
            number("lost"),
            number("unheard"),
            number("unsent"),
            self.sent().map_or_else(|| "-".into(), |sent| sent.to_string()),
            self.card(|counters| counters.sent).to_string(),
            self.card(|counters| counters.far_received).to_string(),
            self.calls().filter(|_| live).map_or_else(|| "-".into(), |calls| calls.to_string()),
            if live { pools.to_string() } else { "-".into() },
            memory.unwrap_or_else(|| "-".into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Tries {
        let mut tries = Tries::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            tries.line(word, rest);
        }
        tries
    }

    /// A machine's report with one try: what was sent by the card, what came back, KiB to be had at each second.
    fn report(card: u64, answers: u64, available: &[u64]) -> Tries {
        let mut text = String::from("try calls live-frames auto 1000 100\n");
        text.push_str("try-counters calls before 10 0 5 5\ntry-memory calls -1 900000 1 1 0 0 0\n");
        for (second, available) in available.iter().enumerate() {
            let calls = 1000 * second;
            text.push_str(&format!("try-memory calls {second} {available} 1 1 {calls} {calls} {}\n", calls.max(7) - 7));
        }
        text.push_str("try-ended calls 0\ntry-told calls  WARN the link is down\ntry-told calls  INFO it is up\n");
        text.push_str(&format!("try-counters calls after {} {answers} 105 {}\n", 10 + card, 5 + 90));
        text.push_str("try-summary calls {  \"probes\": 100,  \"answered\": ");
        text.push_str(&format!("{answers},  \"lost\": 0,  \"unheard\": 0,  \"unsent\": 10, \"rtt_ns\": null,"));
        text.push_str("  \"engine\": \"live-frames\",  \"mode\": \"copy\"}\n");
        parsed(&text)
    }

    #[test]
    fn all_is_well() {
        let report = report(90, 90, &[800_000; 12]);
        assert_eq!(report.wrong(), [""; 0]);
        let table = report.table();
        let row =
            table.lines().find(|line| line.starts_with("calls ")).map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = row.unwrap_or_default();
        assert_eq!(
            row[1..],
            ["live-frames,", "copy", "100", "90", "0", "0", "10", "90", "90", "100", "1000", "7", "781", "->", "781"]
        );
        assert!(table.contains("WARN the link") && !table.contains("INFO"), "{table}");
    }

    #[test]
    fn a_frame_too_few_is_seen() {
        let wrong = report(89, 90, &[800_000; 12]).wrong();
        assert!(wrong.len() == 1 && wrong[0].contains("90 probes are said to be sent; the card sent 89"), "{wrong:?}");
    }

    #[test]
    fn a_card_that_does_not_count_is_judged_by_the_far_one() {
        assert_eq!(report(0, 90, &[800_000; 12]).wrong().len(), 1, "the far one got more than is said to be sent");
    }

    #[test]
    fn answers_that_nobody_received_are_seen() {
        let wrong = report(90, 0, &[800_000; 12]).wrong();
        assert!(wrong.len() == 1 && wrong[0].contains("of 90 answers none"), "{wrong:?}");
    }

    #[test]
    fn memory_that_goes_is_seen_and_a_start_that_takes_some_is_not() {
        let settled: Vec<u64> = (0..12).map(|second| if second < 3 { 900_000 } else { 800_000 }).collect();
        assert_eq!(report(90, 90, &settled).wrong(), [""; 0]);
        let leaking: Vec<u64> = (0..12).map(|second| 800_000 - 4_000 * second).collect();
        let wrong = report(90, 90, &leaking).wrong();
        assert!(wrong.len() == 1 && wrong[0].contains("memory is not flat"), "{wrong:?}");
    }

    #[test]
    fn a_sweep_without_summary_says_why() {
        let wrong = parsed("try a afxdp auto 1 1\ntry-ended a 2\ntry-told a echolot: no\n").wrong();
        assert!(wrong.len() == 1 && wrong[0].contains("status 2") && wrong[0].contains("echolot: no"), "{wrong:?}");
    }
}
