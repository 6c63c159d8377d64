//! Paths as they are printed: by a thread of its own, which may wait for its reader.

use crate::{
    base::TargetIndex,
    path::{Path, Rounds, Wanted},
    results::{
        Format, Known, PATH_CSV_HEADER, PathSubject, WallClock, change_text, path_csv, path_header, path_json,
        paths_text, rounds_text, tree_text,
    },
    run::Failure,
};
use crossbeam::channel::Receiver;
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufWriter, Write},
    net::IpAddr,
};

/// Prints paths.
pub(crate) struct Printer {
    format: Format,
    out: Box<dyn Write + Send>,
    name: String,
    wanted: Wanted,
    most: u8,
    /// Of text, the flows of the round of a target that comes in.
    at_hand: Vec<Path>,
    /// Of text of many targets.
    all: Vec<(PathSubject, Path)>,
    /// Of text of many rounds, by target and flow.
    rounds: BTreeMap<(TargetIndex, u16), (PathSubject, Rounds)>,
    listed: HashSet<IpAddr>,
    /// Whether each target answered in its last round.
    reached: BTreeMap<TargetIndex, bool>,
}

impl Printer {
    /// Into a file, or to standard output.
    ///
    /// # Errors
    /// The file can't be made.
    pub(crate) fn open(
        format: Format,
        path: Option<&std::path::Path>,
        wanted: Wanted,
        most: u8,
    ) -> Result<Self, Failure> {
        let name = path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        let out: Box<dyn Write + Send> = match path {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(File::create(path).map_err(|error| {
                Failure::new(format!("{name}: can't make it: {error}. Name another file with -o, or leave -o out"))
            })?),
        };
        Ok(Self {
            format,
            out: Box::new(BufWriter::new(out)),
            name,
            wanted,
            most,
            at_hand: Vec::new(),
            all: Vec::new(),
            rounds: BTreeMap::new(),
            listed: HashSet::new(),
            reached: BTreeMap::new(),
        })
    }

    /// Prints what comes until nothing comes any more. Returns how many targets did not answer in their last round.
    ///
    /// # Errors
    /// It can't be written; that nobody reads any more is none.
    pub(crate) fn print_all(
        mut self,
        paths: &Receiver<Path>,
        clock: WallClock,
        subject: &dyn Fn(TargetIndex) -> Option<PathSubject>,
    ) -> Result<u64, Failure> {
        match self.print(paths, clock, subject) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(format!("{}: can't write to it: {error}", self.name)))
            }
            _ => Ok(self.reached.values().filter(|reached| !**reached).count() as u64),
        }
    }

    fn print(
        &mut self,
        paths: &Receiver<Path>,
        clock: WallClock,
        subject: &dyn Fn(TargetIndex) -> Option<PathSubject>,
    ) -> io::Result<()> {
        let known = |_: IpAddr| Known::default();
        if self.format == Format::Csv {
            self.out.write_all(PATH_CSV_HEADER.as_bytes())?;
        }
        loop {
            // What has been printed is seen before more is waited for.
            let path = match paths.try_recv() {
                Ok(path) => path,
                Err(_) => {
                    self.out.flush()?;
                    match paths.recv() {
                        Ok(path) => path,
                        Err(_) => break,
                    }
                }
            };
            let Some(subject) = subject(path.target) else { continue };
            let reached = self.reached.entry(path.target).or_default();
            *reached = if path.flow == 0 { path.reached } else { *reached || path.reached };
            match self.format {
                Format::Jsonl => writeln!(self.out, "{}", path_json(&path, &subject, clock, &known))?,
                Format::Csv => self.out.write_all(path_csv(&path, &subject, clock, &known).as_bytes())?,
                Format::List => self.list(&path, subject.address)?,
                Format::Text => self.text(path, subject)?,
                Format::None => {}
            }
        }
        self.end(subject, &known)?;
        self.out.flush()
    }

    /// Each address on the way once.
    fn list(&mut self, path: &Path, target: IpAddr) -> io::Result<()> {
        for address in path.hops.iter().filter_map(|hop| hop.address(target)) {
            if self.listed.insert(address) {
                writeln!(self.out, "{address}")?;
            }
        }
        Ok(())
    }

    fn text(&mut self, path: Path, subject: PathSubject) -> io::Result<()> {
        if self.wanted.rounds == Some(1) {
            self.at_hand.push(path.clone());
            self.all.push((subject, path));
            return Ok(());
        }
        let flow = (path.target, path.flow);
        let (_, rounds) = self.rounds.entry(flow).or_insert_with(|| (subject.clone(), Rounds::default()));
        match rounds.add(&path, subject.address) {
            Some(change) => self.out.write_all(change_text(&subject, path.round, &change).as_bytes()),
            None => Ok(()),
        }
    }

    fn end(
        &mut self,
        subject: &dyn Fn(TargetIndex) -> Option<PathSubject>,
        known: &dyn Fn(IpAddr) -> Known,
    ) -> io::Result<()> {
        if self.format != Format::Text {
            return Ok(());
        }
        let targets = self.reached.len();
        if self.wanted.rounds != Some(1) {
            for ((_, flow), (subject, rounds)) in &self.rounds {
                let several = self.wanted.flows.most() > 1;
                let of_flow = if several { format!(", flow {flow}") } else { String::new() };
                let header = path_header(subject, self.most, crate::path::Flows::Exactly(1));
                writeln!(self.out, "{}{of_flow}, {} rounds, ms", header.trim_end(), rounds.rounds())?;
                self.out.write_all(rounds_text(rounds, known).as_bytes())?;
            }
            return Ok(());
        }
        if targets == 1 {
            let Some(subject) = self.at_hand.first().and_then(|path| subject(path.target)) else { return Ok(()) };
            self.out.write_all(path_header(&subject, self.most, self.wanted.flows).as_bytes())?;
            return self.out.write_all(paths_text(&self.at_hand, &subject, known).as_bytes());
        }
        self.out.write_all(tree_text(&self.all, known).as_bytes())
    }
}
