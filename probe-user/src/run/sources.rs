//! Where targets come from while it runs: the configuration in force, and its sources. A reload reads the configuration again; a source
//! that changes by itself is a reload without that.

use super::{
    Failure, Notifier, Starting,
    requests::{Reloads, Reread},
};
use crate::{
    config::{self, Config, ConfigError},
    discovery::{Discovery, Lists, SourceState},
    results::human::counted,
    targets::{Exclusions, Plan},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A start and a reload wait no longer for files, servers and names: what comes later comes as a change.
const WAITED_FOR: Duration = Duration::from_secs(3);
/// Who waits for the first target looks so often whether the configuration is to be read again.
const LOOK: Duration = Duration::from_millis(100);

/// Reads the configuration.
pub(crate) type Load = Box<dyn FnMut() -> Result<Config, ConfigError> + Send>;

/// What is in force, for whoever reads it anew and whoever shows how sources fare.
#[derive(Clone)]
pub(crate) struct Sources(Arc<Mutex<InForce>>);

struct InForce {
    config: Arc<Config>,
    discovery: Discovery,
    /// How many there were before that one.
    number: u64,
    /// Who adopts what changes; None until probing has begun.
    reloads: Option<Reloads>,
}

/// What it begins with.
pub(crate) struct Beginning {
    pub(crate) sources: Sources,
    pub(crate) plan: Plan,
    pub(crate) exclude: Exclusions,
    pub(crate) hash: u64,
    /// In force: it may have been read again.
    pub(crate) config: Arc<Config>,
    version: u64,
}

impl Beginning {
    /// Reads all sources of a configuration. Where none has a target it waits for one, and reads the configuration again if SIGHUP asks
    /// for that.
    ///
    /// # Errors
    /// What the configuration itself says is wrong, or a file of exclusions can't be read: nobody knows then what must not be probed.
    pub(crate) fn of(load: &mut Load, starting: &Starting, notifier: &Notifier) -> Result<Self, Failure> {
        let mut config = load()?;
        config.excluded_by_files()?;
        let mut discovery = Discovery::start(&config.discovery())?;
        let mut lists = discovery.first(WAITED_FOR);
        let mut plan = config.plan_of(&lists)?;
        // A source that is down is a source that is down, and not a failed start.
        if plan.targets.is_empty() {
            starting.step("waiting for a source of targets that has some");
            notifier.waits();
        }
        while plan.targets.is_empty() {
            if starting.hung_up() {
                notifier.reloads();
                match again(load, &discovery) {
                    Ok(read) => {
                        (config, discovery, lists, plan) = read;
                        tracing::info!("reloaded: {}", counted(plan.targets.len() as u64, "target"));
                    }
                    Err(why) => tracing::error!("not reloaded, all goes on as before: {why}"),
                }
                notifier.reloaded();
            } else if let Some(next) = discovery.after(lists.version, LOOK) {
                lists = next;
                match config.plan_of(&lists) {
                    Ok(next) => plan = next,
                    Err(error) => tracing::warn!("{error}"),
                }
            }
        }
        if let Some(warning) = config.unknown_labels(&lists) {
            tracing::warn!("{warning}");
        }
        let exclude = config.never(&config.exclude.and(&lists.exclude));
        let (hash, config) = (config::hash(&config, &plan), Arc::new(config));
        let in_force = InForce { config: Arc::clone(&config), discovery, number: 0, reloads: None };
        let sources = Sources(Arc::new(Mutex::new(in_force)));
        Ok(Self { sources, plan, exclude, hash, config, version: lists.version })
    }

    /// The version of the lists that it begins with.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

/// Reads everything again before anything is probed: nothing is fixed yet.
fn again(load: &mut Load, before: &Discovery) -> Result<(Config, Discovery, Lists, Plan), Failure> {
    let config = load()?;
    config.excluded_by_files()?;
    let discovery = Discovery::start_after(before, &config.discovery())?;
    let lists = discovery.first(WAITED_FOR);
    let plan = config.plan_of(&lists)?;
    Ok((config, discovery, lists, plan))
}

impl Sources {
    fn held(&self) -> MutexGuard<'_, InForce> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How each fares.
    pub(crate) fn states(&self) -> Vec<SourceState> {
        self.held().discovery.states()
    }

    /// What of the configuration takes a restart to change.
    pub(crate) fn fixed(&self) -> Vec<(&'static str, String)> {
        self.held().config.fixed()
    }

    /// From now on changes since this version are adopted.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn follow(&self, version: u64, reloads: &Reloads) -> std::io::Result<()> {
        let mut held = self.held();
        held.reloads = Some(reloads.clone());
        let adopting = self.adopting(held.number, reloads.clone());
        held.discovery.hand_on(version, adopting)
    }

    /// Adopts lists that have changed, while the discovery of this number is at work; by the configuration that is in force when it is
    /// their turn, for somebody may read it again meanwhile.
    fn adopting(&self, number: u64, reloads: Reloads) -> impl FnMut(&Lists) -> Result<(), String> + Send + 'static {
        let sources = self.clone();
        move |lists| {
            let (sources, lists) = (sources.clone(), lists.clone());
            let make = move || {
                // Not under the lock: scrapes ask how sources fare, and a plan takes a while.
                let config =
                    Some(sources.held()).filter(|held| held.number == number).map(|held| Arc::clone(&held.config));
                config.map(|config| reread(&config, &lists)).transpose()
            };
            reloads.adopt_blocking(Box::new(make)).map(drop)
        }
    }

    /// Reads the configuration again: what is `fixed` can't be changed.
    pub(crate) fn reader(self, mut load: Load) -> super::Read {
        let fixed = self.held().config.fixed();
        Box::new(move || {
            let config = load().map_err(|error| error.to_string())?;
            let others: Vec<String> = fixed
                .iter()
                .zip(config.fixed())
                .filter(|((_, was), (_, is))| was != is)
                .map(|((name, was), (_, is))| format!("`{name}` ({was}, would be {is})"))
                .collect();
            if !others.is_empty() {
                return Err(format!("{}: {} can't change without a restart", config.file.display(), others.join(", ")));
            }
            config.excluded_by_files().map_err(|error| error.to_string())?;
            self.read(config)
        })
    }

    fn read(&self, config: Config) -> Result<Reread, String> {
        let settings = config.discovery();
        let is_same = format!("{settings:?}") == format!("{:?}", self.held().config.discovery());
        let (lists, other) = if is_same {
            (self.held().discovery.lists(), None)
        } else {
            let discovery = Discovery::start_after(&self.held().discovery, &settings);
            let discovery = discovery.map_err(|error| format!("no thread for its sources: {error}"))?;
            let lists = discovery.first(WAITED_FOR);
            // One that was there before has what it had then.
            if let Some(state) = discovery.unknown() {
                return Err(format!(
                    "source {} of group `{}` is down, and nothing is known of its targets: mend it, and reload again",
                    state.source, state.group
                ));
            }
            (lists, Some(discovery))
        };
        let mut reread = reread(&config, &lists)?;
        let sources = self.clone();
        reread.adopted = Some(Box::new(move || sources.replace(config, other, lists.version)));
        Ok(reread)
    }

    /// Another configuration is in force.
    fn replace(&self, config: Config, other: Option<Discovery>, version: u64) {
        let mut held = self.held();
        held.config = Arc::new(config);
        let Some(mut discovery) = other else { return };
        held.number += 1;
        if let Some(reloads) = held.reloads.clone()
            && let Err(error) = discovery.hand_on(version, self.adopting(held.number, reloads))
        {
            tracing::error!("sources of targets are not followed: {error}");
        }
        let before = std::mem::replace(&mut held.discovery, discovery);
        drop(held);
        // It may be calling us, and waits for the lock.
        drop(before);
    }
}

fn reread(config: &Config, lists: &Lists) -> Result<Reread, String> {
    let plan = config.plan_of(lists).map_err(|error| error.to_string())?;
    let hash = config::hash(config, &plan);
    let exclude = config.never(&config.exclude.and(&lists.exclude));
    Ok(Reread { plan, exclude, hash, adopted: None })
}
