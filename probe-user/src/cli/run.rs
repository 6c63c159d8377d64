//! `echolot run`: monitor for ever.

use super::{
    Failure, Status,
    args::{LogFormat, NetworkArgs, RunArgs},
    show_log_above,
    view::{self, RunView},
};
use crate::{
    alert,
    base::{Nanos, Outcome},
    config::{self, Config, ConfigError},
    metrics::Source as _,
    results::{Outcomes, Summary},
    run::{self, Beginning, Job, Live, Load, Moment, Network, Notifier, Reload, Source, Starting, View},
};
use std::time::{SystemTime, UNIX_EPOCH};

/// Pictures on a terminal come this often.
const PICTURE: Nanos = Nanos::from_millis(500);

/// Probes what the configuration says until a signal comes.
pub(super) fn run(args: &RunArgs, log: LogFormat) -> Result<Status, Failure> {
    let live = Live::on_stderr();
    show_log_above(live.as_ref());
    let starting =
        Starting::begin_reloadable("reading the configuration and its targets", live.clone(), Status::Complete)?;
    let (file, seed, sources) = (args.config.clone(), args.network.seed, super::args::sources(&args.network.sources)?);
    let allow_reserved = args.allow_reserved;
    let mut load: Load = Box::new(move || -> Result<Config, ConfigError> {
        let mut config = config::load(&file)?;
        config.seed = seed.or(config.seed);
        config.sources = sources.clone().or(config.sources);
        config.allow_reserved = allow_reserved;
        Ok(config)
    });
    // Whoever asks what would be done has begun nothing.
    let notifier = if args.network.dry_run { Notifier::default() } else { Notifier::of_environment()? };
    let beginning = Beginning::of(&mut load, &starting, &notifier)?;
    let version = beginning.version();
    let Beginning { sources, plan, exclude, hash, config, .. } = beginning;
    let config = Config::clone(&config);
    let read = sources.clone().reader(load);
    let reload = Reload { read, hash, by_http: args.lifecycle, sources, version };
    let rate = run::whole(plan.needed_rate());
    let network = network(&args.network, &config);
    let job = Job {
        results: args.output.results(args.format, Outcomes::ALL),
        summary: args.output.summary.clone(),
        listen: config.listen,
        for_ever: true,
        vantage: config.vantage,
        alerts: in_state_directory(config.alerts),
        events: args.events.clone().or(config.events),
        enrich: config.enrich,
        reload: Some(reload),
        notifier,
        ..Job::new(plan, exclude, network, rate)
    };
    if args.network.dry_run {
        drop(starting);
        return run::dry_run(job);
    }
    let every = if live.is_some() { PICTURE } else { args.progress_interval };
    let mut view = Shown { live, log, every, next: Nanos::ZERO, view: RunView::new(Nanos::ZERO) };
    run::carry_out(job, starting, &mut view)?;
    Ok(Status::Complete)
}

/// Where the file names no folder for what outlives the process, the one that systemd has made for the unit (`StateDirectory`).
pub(super) fn in_state_directory(alerts: alert::Settings) -> alert::Settings {
    let of_unit = || {
        let folders = std::env::var_os("STATE_DIRECTORY").filter(|folders| !folders.is_empty())?;
        std::env::split_paths(&folders).next()
    };
    alert::Settings { state: alerts.state.or_else(of_unit), ..alerts }
}

/// What the command line says, `auto` included, and where it says nothing the file.
fn network(args: &NetworkArgs, config: &Config) -> Network {
    Network {
        interface: args.interface.clone().or_else(|| config.interface.clone()),
        mode: args.mode.unwrap_or(config.mode),
        engine: args.engine.unwrap_or(config.engine),
        identifier: args.identifier.or(config.identifier),
        source_port: config.source_port,
    }
}

/// The live view, or a line now and then.
struct Shown {
    live: Option<Live>,
    log: LogFormat,
    every: Nanos,
    next: Nanos,
    view: RunView,
}

impl View for Shown {
    fn begin(&mut self, moment: &Moment<'_>) -> Result<(), Failure> {
        self.view = RunView::new(moment.snapshot.at);
        self.next = moment.snapshot.at + self.every;
        Ok(())
    }

    fn tick(&mut self, source: &Source) {
        let now = run::now();
        if self.every == Nanos::ZERO || now < self.next {
            return;
        }
        self.next = now + self.every;
        let (snapshot, drops) = (source.snapshot(), source.drops());
        match &self.live {
            Some(live) => {
                live.show(&self.view.picture(&snapshot, &drops, &source.interface(), live.width()));
            }
            None => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
                let line = self.view.line(&snapshot, &drops, u64::try_from(unix).unwrap_or(u64::MAX));
                match self.log {
                    LogFormat::Text => eprintln!("{line}"),
                    LogFormat::Json => tracing::info!("{line}"),
                }
            }
        }
    }

    fn end(&mut self, summary: &Summary, _: &Moment<'_>) {
        if self.log == LogFormat::Text {
            return view::finish(self.live.as_ref(), summary);
        }
        if let Some(live) = &self.live {
            live.clear();
        }
        let of = |outcome| summary.of(outcome);
        tracing::info!(
            targets = summary.targets,
            targets_answered = summary.targets_answered,
            probes = summary.probes,
            answered = of(Outcome::Answered),
            unreachable = of(Outcome::Unreachable),
            lost = of(Outcome::Lost),
            unheard = of(Outcome::Unheard),
            unsent = of(Outcome::Unsent),
            in_flight = summary.in_flight,
            "ended"
        );
    }

    fn live(&self) -> Option<Live> {
        self.live.clone()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::{
        cli::args::{Cli, Command},
        nic::{Engine, Mode},
    };
    use clap::Parser as _;

    /// Engine and mode by these arguments, with a file that names others than `auto`.
    fn chosen(arguments: &[&str]) -> (Engine, Mode) {
        let path = std::env::temp_dir().join(format!("echolot-run-{}-{}.yml", std::process::id(), arguments.len()));
        let text = "engine: live-frames\nmode: generic\ngroups: [{name: g, targets: [192.0.2.7]}]\n";
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path);
        std::fs::remove_file(&path).unwrap();
        let start = ["echolot", "run", "-c", "file"].iter().chain(arguments);
        let Command::Run(args) = Cli::parse_from(start).command else { panic!("another command") };
        let network = network(&args.network, &config.unwrap());
        (network.engine, network.mode)
    }

    #[test]
    fn the_command_line_outdoes_the_file_with_auto_too() {
        assert_eq!(chosen(&[]), (Engine::LiveFrames, Mode::Generic));
        assert_eq!(chosen(&["--mode", "auto"]), (Engine::LiveFrames, Mode::Auto));
        assert_eq!(chosen(&["--engine", "auto", "--mode", "copy"]), (Engine::Auto, Mode::Copy));
    }
}
