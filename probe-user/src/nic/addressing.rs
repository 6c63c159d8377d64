//! What probes are sent from and replies are taken for, changeable while everything runs.

use super::{
    NicError,
    program::{Program, Table},
    templates::{Common, Current, Templates},
};
use crate::{base::Nanos, route::Hops, wire::Shape, worker::Clock as _};
use probe_ebpf::layout::{LIVE_TEMPLATE_SIZE, MAX_SOURCES, SETTINGS_SIZE, Settings};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Longer than any call of a sender takes that began with the templates of before: so long their places in the XDP program's map stay
/// as they are.
const IN_USE: Duration = Duration::from_millis(200);

/// The addresses of one interface, for those who follow how they change. Dropping it changes nothing.
pub(super) struct Addressing {
    common: Common,
    hops: Arc<Hops>,
    shapes: Vec<Shape>,
    sources: Vec<Ipv4Addr>,
    slots: Slots,
    settings: Settings,
    steer: Table<SETTINGS_SIZE>,
    /// Where probes are live frames: their templates.
    live: Option<Table<LIVE_TEMPLATE_SIZE>>,
    current: Arc<Current>,
    generation: u64,
    replaced: Option<Instant>,
}

/// What it begins with.
pub(super) struct Parts<'a> {
    pub(super) common: Common,
    pub(super) hops: Arc<Hops>,
    pub(super) shapes: &'a [Shape],
    pub(super) max_age: Nanos,
}

impl Parts<'_> {
    fn sources(&self) -> Vec<Ipv4Addr> {
        unique(self.hops.iter().filter_map(|hop| match hop.source {
            IpAddr::V4(source) => Some(source),
            IpAddr::V6(_) => None,
        }))
    }

    /// What steer begins with.
    pub(super) fn settings(&self) -> Result<Settings, NicError> {
        let mut settings = Settings {
            key: self.common.key.0,
            max_age_ns: self.max_age.0,
            identifier: self.common.identifier,
            ..Settings::default()
        };
        Slots::default().take(&self.sources(), Nanos::ZERO, self.max_age)?.lay(&mut settings);
        Ok(settings)
    }
}

impl Addressing {
    /// As it is at the start: with the sources of all hops.
    pub(super) fn new(parts: &Parts<'_>, program: &mut Program) -> Result<Self, NicError> {
        let (common, hops, sources) = (parts.common, Arc::clone(&parts.hops), parts.sources());
        let templates = Templates::new(common, Arc::clone(&hops), parts.shapes, sources.clone(), 0)?;
        Ok(Self {
            common,
            hops,
            shapes: parts.shapes.to_vec(),
            slots: Slots::default().take(&sources, super::MonotonicClock.now(), parts.max_age)?,
            sources,
            settings: parts.settings()?,
            steer: program.take_table("SETTINGS")?,
            live: None,
            current: Arc::new(Current::new(templates)),
            generation: 0,
            replaced: None,
        })
    }

    /// For a sender.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current)
    }

    /// From now on there are templates in the program too. They have been laid there as they are.
    pub(super) fn live(&mut self, program: &mut Program) -> Result<(), NicError> {
        self.live = Some(program.take_table("LIVE_TEMPLATES")?);
        Ok(())
    }

    /// From now on probes leave from these addresses and from this MAC address; replies to addresses that are no longer among them are
    /// taken for as long as they can be judged. May take some 200 ms if it is called twice within that time. Returns whether anything
    /// has changed.
    ///
    /// # Errors
    /// There are too many, or the program's maps can't be written. Then everything is as before.
    pub(super) fn set(&mut self, mac: [u8; 6], sources: impl IntoIterator<Item = Ipv4Addr>) -> Result<bool, NicError> {
        let sources = unique(sources);
        if sources == self.sources && mac == self.common.mac {
            return Ok(false);
        }
        let slots = self.slots.clone().take(&sources, super::MonotonicClock.now(), Nanos(self.settings.max_age_ns))?;
        let common = Common { mac, ..self.common };
        // Probes that are being handed over leave from where they were going to.
        let with_old = unique(sources.iter().chain(&self.sources).copied());
        let generation = self.generation + 1;
        let templates = Templates::new(common, Arc::clone(&self.hops), &self.shapes, with_old, generation)?;
        if let Some(live) = &mut self.live {
            if let Some(replaced) = self.replaced {
                thread::sleep(IN_USE.saturating_sub(replaced.elapsed()));
            }
            for (place, template) in templates.live()? {
                live.set(place, template.to_bytes())?;
            }
        }
        let mut settings = self.settings;
        slots.lay(&mut settings);
        self.steer.set(0, settings.to_bytes())?;
        self.current.replace(templates);
        (self.common, self.sources, self.slots, self.settings) = (common, sources, slots, settings);
        (self.generation, self.replaced) = (generation, Some(Instant::now()));
        Ok(true)
    }
}

fn unique(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The addresses that steer takes replies for. Each keeps its place, so that whatever moment steer reads them at, it finds those that
/// stay.
#[derive(Clone, Debug, Default)]
struct Slots(Vec<Slot>);

#[derive(Clone, Copy, Debug)]
struct Slot {
    address: Ipv4Addr,
    /// Since when nothing is sent from it.
    retired: Option<Nanos>,
}

impl Slots {
    /// Now probes leave from these addresses.
    fn take(mut self, sources: &[Ipv4Addr], now: Nanos, max_age: Nanos) -> Result<Self, NicError> {
        for slot in &mut self.0 {
            let used = sources.contains(&slot.address);
            slot.retired = if used { None } else { Some(slot.retired.unwrap_or(now)) };
        }
        for source in sources {
            if self.0.iter().any(|slot| slot.address == *source) {
                continue;
            }
            let slot = Slot { address: *source, retired: None };
            if self.0.len() < MAX_SOURCES {
                self.0.push(slot);
                continue;
            }
            // Whoever has been without probes for longest; mostly longer than a reply may be under way.
            let oldest = self.0.iter_mut().filter(|slot| slot.retired.is_some()).min_by_key(|slot| slot.retired);
            let Some(oldest) = oldest else {
                return Err(NicError::Sources { sources: sources.len(), most: MAX_SOURCES });
            };
            if oldest.retired.is_some_and(|retired| now - retired < max_age) {
                tracing::debug!(address = %oldest.address, "replies are no longer taken for it: too many addresses went away");
            }
            *oldest = slot;
        }
        Ok(self)
    }

    fn lay(&self, settings: &mut Settings) {
        settings.source_count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (place, slot) in settings.sources.iter_mut().zip(&self.0) {
            *place = u32::from_ne_bytes(slot.address.octets());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const AGE: Nanos = Nanos::from_secs(61);

    fn address(n: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap())
    }

    fn laid(slots: &Slots) -> Vec<Ipv4Addr> {
        let mut settings = Settings::default();
        slots.lay(&mut settings);
        settings.sources[..settings.source_count as usize].iter().map(|n| Ipv4Addr::from(n.to_ne_bytes())).collect()
    }

    #[test]
    fn an_address_that_went_away_is_kept_in_its_place_for_replies() {
        let at = Nanos::from_secs;
        let slots = Slots::default().take(&[address(1), address(2)], at(0), AGE).unwrap();
        let slots = slots.take(&[address(2), address(3)], at(1), AGE).unwrap();
        assert_eq!(laid(&slots), [1, 2, 3].map(address));
        let slots = slots.take(&[address(1)], at(2), AGE).unwrap();
        assert_eq!(laid(&slots), [1, 2, 3].map(address));
        assert_eq!(slots.0[0].retired, None, "it came back");
    }

    #[test]
    fn the_one_that_went_first_makes_room() {
        let mut slots = Slots::default();
        for n in 0..MAX_SOURCES + 3 {
            slots = slots.take(&[address(n)], Nanos::from_secs(n as u64), AGE).unwrap();
        }
        let mut left = laid(&slots);
        left.sort_unstable();
        assert_eq!(left, (3..MAX_SOURCES + 3).map(address).collect::<Vec<_>>());
        let many: Vec<_> = (100..=100 + MAX_SOURCES).map(address).collect();
        assert!(matches!(slots.take(&many, Nanos::from_secs(99), AGE), Err(NicError::Sources { .. })));
    }
}
