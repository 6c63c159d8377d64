//! Paths as they are printed: by a thread of its own, which may wait for its reader, and for names.

use super::{
    keys::Keys,
    path_table::{Shows, path_table},
};
use crate::{
    base::TargetIndex,
    enrich::Enricher,
    path::{Flows, Path, Rounds, Wanted},
    results::{
        Format, PATH_CSV_HEADER, PathSubject, WallClock, change_text, path_csv, path_header, path_json, paths_text,
        rounds_text, tree_text,
    },
    run::{Failure, Live},
};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs::File,
    io::{self, BufWriter, Write},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Between looks at keys, and at names that have come.
const LOOK: Duration = Duration::from_millis(50);

/// How paths are printed.
pub(crate) struct Printing {
    pub(crate) format: Format,
    pub(crate) wanted: Wanted,
    /// Who knows what routers are called.
    pub(crate) enricher: Enricher,
    /// How long names may still come once a path has been found.
    pub(crate) names_wait: Duration,
    /// Where rounds are shown while they go on.
    pub(crate) live: Option<Live>,
    /// No further round begins while this is set.
    pub(crate) is_paused: Arc<AtomicBool>,
    pub(crate) clock: WallClock,
}

/// Who a target is.
type Subjects<'a> = &'a dyn Fn(TargetIndex) -> Option<PathSubject>;

/// Prints paths.
pub(crate) struct Printer {
    how: Printing,
    out: Box<dyn Write + Send>,
    name: String,
    /// Of lines for programs, those that wait for names, and until when.
    waiting: VecDeque<(Instant, PathSubject, Path)>,
    /// Of text of one round.
    all: Vec<(PathSubject, Path)>,
    /// Of text of many rounds, by target and flow.
    rounds: BTreeMap<(TargetIndex, u16), (PathSubject, Rounds)>,
    listed: HashSet<IpAddr>,
    /// Whether each target answered in its last round.
    reached: BTreeMap<TargetIndex, bool>,
    shows: Shows,
    keys: Option<Keys>,
}

impl Printer {
    /// Into a file, or to standard output.
    ///
    /// # Errors
    /// The file can't be made.
    pub(crate) fn open(how: Printing, path: Option<&std::path::Path>) -> Result<Self, Failure> {
        let name = path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        let out: Box<dyn Write + Send> = match path {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(File::create(path).map_err(|error| {
                Failure::new(format!("{name}: can't make it: {error}. Name another file with -o, or leave -o out"))
            })?),
        };
        // One round is over before anybody could look.
        let is_table = how.format == Format::Text && how.wanted.rounds != Some(1);
        let live = how.live.filter(|_| is_table);
        Ok(Self {
            keys: live.is_some().then(Keys::listen).flatten(),
            how: Printing { live, ..how },
            out: Box::new(BufWriter::new(out)),
            name,
            waiting: VecDeque::new(),
            all: Vec::new(),
            rounds: BTreeMap::new(),
            listed: HashSet::new(),
            reached: BTreeMap::new(),
            shows: Shows::by_environment(),
        })
    }

    /// Prints what comes until nothing comes any more. Returns how many targets did not answer in their last round.
    ///
    /// # Errors
    /// It can't be written; that nobody reads any more is none.
    pub(crate) fn print_all(mut self, paths: Receiver<Path>, subject: Subjects<'_>) -> Result<u64, Failure> {
        match self.print(paths, subject) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(format!("{}: can't write to it: {error}", self.name)))
            }
            _ => Ok(self.reached.values().filter(|reached| !**reached).count() as u64),
        }
    }

    fn print(&mut self, paths: Receiver<Path>, subject: Subjects<'_>) -> io::Result<()> {
        if self.how.format == Format::Csv {
            self.out.write_all(PATH_CSV_HEADER.as_bytes())?;
        }
        loop {
            match paths.recv_timeout(if paths.is_empty() { LOOK } else { Duration::ZERO }) {
                Ok(path) => {
                    if let Some(subject) = subject(path.target) {
                        self.take(path, subject)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write_named(false)?;
            // Dropped, the receiver ends it all.
            if self.heed_keys() {
                drop(paths);
                break;
            }
            if paths.is_empty() {
                self.out.flush()?;
                self.draw();
            }
        }
        self.keys = None;
        if let Some(live) = &self.how.live {
            live.clear();
        }
        // All is measured: whoever is asked for a name may take so long still.
        let _all_came = self.how.enricher.wait(self.how.names_wait);
        self.write_named(true)?;
        self.end()?;
        self.out.flush()
    }

    fn take(&mut self, path: Path, subject: PathSubject) -> io::Result<()> {
        let reached = self.reached.entry(path.target).or_default();
        *reached = if path.flow == 0 { path.reached } else { *reached || path.reached };
        for address in path.hops.iter().filter_map(|hop| hop.address(subject.address)) {
            self.how.enricher.ask(address);
            if self.how.format == Format::List && self.listed.insert(address) {
                writeln!(self.out, "{address}")?;
            }
        }
        match self.how.format {
            Format::Jsonl | Format::Csv => {
                self.waiting.push_back((Instant::now() + self.how.names_wait, subject, path));
                Ok(())
            }
            Format::Text => self.take_text(path, subject),
            Format::List | Format::None => Ok(()),
        }
    }

    fn take_text(&mut self, path: Path, subject: PathSubject) -> io::Result<()> {
        if self.how.wanted.rounds == Some(1) {
            self.all.push((subject, path));
            return Ok(());
        }
        let flow = (path.target, path.flow);
        let (_, rounds) = self.rounds.entry(flow).or_insert_with(|| (subject.clone(), Rounds::default()));
        let Some(change) = rounds.add(&path, subject.address) else { return Ok(()) };
        let line = change_text(&subject, path.round, &change);
        let Some(live) = &self.how.live else { return self.out.write_all(line.as_bytes()) };
        let mut written = Ok(());
        live.aside(&mut || written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush()));
        written
    }

    /// Writes lines for programs whose names have come, or have been waited for long enough; or all.
    fn write_named(&mut self, all: bool) -> io::Result<()> {
        let nobody_is_asked = self.how.enricher.wait(Duration::ZERO);
        while let Some((until, ..)) = self.waiting.front()
            && (all || nobody_is_asked || *until <= Instant::now())
            && let Some((_, subject, path)) = self.waiting.pop_front()
        {
            let known = |address| self.how.enricher.known(address);
            let text = match self.how.format {
                Format::Csv => path_csv(&path, &subject, self.how.clock, &known),
                _ => path_json(&path, &subject, self.how.clock, &known) + "\n",
            };
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    /// Does what keys ask for. Whether the end was.
    fn heed_keys(&mut self) -> bool {
        let targets = self.rounds.keys().map(|(target, _)| target).collect::<HashSet<_>>().len().max(1);
        let flows = self.how.wanted.flows.most().max(1);
        while let Some(key) = self.keys.as_ref().and_then(Keys::next) {
            match key {
                b'p' | b' ' => {
                    self.shows.is_paused = !self.shows.is_paused;
                    self.how.is_paused.store(self.shows.is_paused, Relaxed);
                }
                b'f' => self.shows.flow = (self.shows.flow + 1) % flows,
                b't' => self.shows.target = (self.shows.target + 1) % targets,
                b'n' => self.shows.host = self.shows.host.next(),
                b'q' => return true,
                _ => {}
            }
        }
        false
    }

    fn draw(&self) {
        let Some(live) = &self.how.live else { return };
        let targets: Vec<TargetIndex> =
            self.rounds.keys().filter(|(_, flow)| *flow == 0).map(|(target, _)| *target).collect();
        let Some(target) = targets.get(self.shows.target).or(targets.first()) else { return };
        let of = |flow| self.rounds.get(&(*target, flow));
        let Some((subject, rounds)) = of(self.shows.flow).or_else(|| of(0)) else { return };
        let flows = self.rounds.keys().filter(|(other, _)| other == target).count();
        let known = |address| self.how.enricher.known(address);
        live.show(&path_table(subject, rounds, self.shows, (targets.len(), flows), live.size(), &known));
    }

    fn end(&mut self) -> io::Result<()> {
        if self.how.format != Format::Text {
            return Ok(());
        }
        let (most, flows) = (self.how.wanted.most, self.how.wanted.flows);
        let known = |address| self.how.enricher.known(address);
        if self.how.wanted.rounds != Some(1) {
            for ((_, flow), (subject, rounds)) in &self.rounds {
                let of_flow = if flows.most() > 1 { format!(", flow {flow}") } else { String::new() };
                let header = path_header(subject, most, Flows::Exactly(1));
                writeln!(self.out, "{}{of_flow}, {} rounds, times in ms", header.trim_end(), rounds.rounds())?;
                self.out.write_all(rounds_text(rounds, &known).as_bytes())?;
            }
            return Ok(());
        }
        if self.reached.len() > 1 {
            return self.out.write_all(tree_text(&self.all, &known).as_bytes());
        }
        let Some((subject, _)) = self.all.first() else { return Ok(()) };
        let paths: Vec<Path> = self.all.iter().map(|(_, path)| path.clone()).collect();
        self.out.write_all(path_header(subject, most, flows).as_bytes())?;
        self.out.write_all(paths_text(&paths, subject, &known).as_bytes())
    }
}
