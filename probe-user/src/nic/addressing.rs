//! What probes are sent from and replies are taken for, changeable while everything runs.

use super::{
    NicError,
    program::{Program, Table},
    templates::{Common, Current, Templates},
};
use crate::{
    base::{AddressTable, Family, Nanos},
    route::Hops,
    wire::{Live, Shape},
    worker::Clock as _,
};
use probe_ebpf::layout::{LIVE_TEMPLATE_SIZE, LIVE_TEMPLATE_V6_SIZE, MAX_SOURCES, SETTINGS_SIZE, Settings};
use std::{
    net::{IpAddr, Ipv6Addr},
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
    addresses: Arc<AddressTable>,
    shapes: Vec<Shape>,
    sources: Vec<IpAddr>,
    slots: Slots,
    settings: Settings,
    steer: Table<SETTINGS_SIZE>,
    /// Where probes are live frames: their templates.
    live: Option<LiveTables>,
    current: Arc<Current>,
    generation: u64,
    replaced: Option<Instant>,
}

/// The templates in the XDP program.
struct LiveTables {
    v4: Table<LIVE_TEMPLATE_SIZE>,
    v6: Table<LIVE_TEMPLATE_V6_SIZE>,
}

/// What it begins with.
pub(super) struct Parts<'a> {
    pub(super) common: Common,
    pub(super) hops: Arc<Hops>,
    pub(super) addresses: Arc<AddressTable>,
    pub(super) shapes: &'a [Shape],
    pub(super) max_age: Nanos,
    /// How many ports are reserved.
    pub(super) port_count: u32,
    /// How many of them, the last ones, get answers without proof.
    pub(super) unproven_ports: u32,
    /// How many flows have probes that are to expire.
    pub(super) expiring_flows: u32,
}

impl Parts<'_> {
    fn sources(&self) -> Vec<IpAddr> {
        unique(self.hops.iter().map(|hop| hop.source))
    }

    /// What steer begins with.
    pub(super) fn settings(&self) -> Result<Settings, NicError> {
        let mut settings = Settings {
            key: self.common.key.0,
            flow_key: self.common.key.flow_key(),
            max_age_ns: self.max_age.0,
            identifier: self.common.identifier,
            first_port: self.common.first_port,
            port_count: self.port_count,
            unproven_ports: self.unproven_ports,
            expiring_flows: self.expiring_flows,
            ..Settings::default()
        };
        Slots::default().take(&self.sources(), Nanos::ZERO, self.max_age)?.lay(&mut settings);
        Ok(settings)
    }
}

impl Addressing {
    /// As it is at the start: with the sources of all hops.
    pub(super) fn new(parts: &Parts<'_>, program: &mut Program) -> Result<Self, NicError> {
        let (common, hops, addresses) = (parts.common, Arc::clone(&parts.hops), Arc::clone(&parts.addresses));
        let sources = parts.sources();
        let templates =
            Templates::new(common, Arc::clone(&hops), Arc::clone(&addresses), parts.shapes, sources.clone(), 0)?;
        Ok(Self {
            common,
            hops,
            addresses,
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
        let (v4, v6) = (program.take_table("LIVE_TEMPLATES")?, program.take_table("LIVE_TEMPLATES_V6")?);
        self.live = Some(LiveTables { v4, v6 });
        Ok(())
    }

    /// From now on probes leave from these addresses and from this MAC address; replies to addresses that are no longer among them are
    /// taken for as long as they can be judged. May take some 200 ms if it is called twice within that time. Returns whether anything
    /// has changed.
    ///
    /// # Errors
    /// There are too many, or the program's maps can't be written. Then everything is as before.
    pub(super) fn set(&mut self, mac: [u8; 6], sources: impl IntoIterator<Item = IpAddr>) -> Result<bool, NicError> {
        let sources = unique(sources);
        if sources == self.sources && mac == self.common.mac {
            return Ok(false);
        }
        let slots = self.slots.clone().take(&sources, super::MonotonicClock.now(), Nanos(self.settings.max_age_ns))?;
        let common = Common { mac, ..self.common };
        // Probes that are being handed over leave from where they were going to.
        let with_old = unique(sources.iter().chain(&self.sources).copied());
        let generation = self.generation + 1;
        let (hops, addresses) = (Arc::clone(&self.hops), Arc::clone(&self.addresses));
        let templates = Templates::new(common, hops, addresses, &self.shapes, with_old, generation)?;
        if let Some(live) = &mut self.live {
            if let Some(replaced) = self.replaced {
                thread::sleep(IN_USE.saturating_sub(replaced.elapsed()));
            }
            for (place, template) in templates.live()? {
                match template {
                    Live::V4(template) => live.v4.set(place, template.to_bytes())?,
                    Live::V6(template) => live.v6.set(place, template.to_bytes())?,
                }
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

fn unique(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The addresses that steer takes replies for, by family. Each keeps its place, so that whatever moment steer reads them at, it finds
/// those that stay.
#[derive(Clone, Debug, Default)]
struct Slots {
    v4: Vec<Slot>,
    v6: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    address: IpAddr,
    /// Since when nothing is sent from it.
    retired: Option<Nanos>,
}

impl Slots {
    /// Now probes leave from these addresses.
    fn take(mut self, sources: &[IpAddr], now: Nanos, max_age: Nanos) -> Result<Self, NicError> {
        for (family, slots) in [(Family::V4, &mut self.v4), (Family::V6, &mut self.v6)] {
            let of_family: Vec<_> = sources.iter().copied().filter(|source| Family::of(*source) == family).collect();
            take(slots, &of_family, now, max_age)?;
        }
        Ok(self)
    }

    fn lay(&self, settings: &mut Settings) {
        settings.source_count = u32::try_from(self.v4.len()).unwrap_or(u32::MAX);
        settings.source_count_v6 = u32::try_from(self.v6.len()).unwrap_or(u32::MAX);
        for (place, slot) in settings.sources.iter_mut().zip(&self.v4) {
            let IpAddr::V4(address) = slot.address else { continue };
            *place = u32::from_ne_bytes(address.octets());
        }
        for (place, slot) in settings.sources_v6.iter_mut().zip(&self.v6) {
            let IpAddr::V6(address) = slot.address else { continue };
            *place = words(address);
        }
    }
}

/// Now probes leave from these addresses of one family.
fn take(slots: &mut Vec<Slot>, sources: &[IpAddr], now: Nanos, max_age: Nanos) -> Result<(), NicError> {
    for slot in &mut *slots {
        let used = sources.contains(&slot.address);
        slot.retired = if used { None } else { Some(slot.retired.unwrap_or(now)) };
    }
    for source in sources {
        if slots.iter().any(|slot| slot.address == *source) {
            continue;
        }
        let slot = Slot { address: *source, retired: None };
        if slots.len() < MAX_SOURCES {
            slots.push(slot);
            continue;
        }
        // Whoever has been without probes for longest; mostly longer than a reply may be under way.
        let oldest = slots.iter_mut().filter(|slot| slot.retired.is_some()).min_by_key(|slot| slot.retired);
        let Some(oldest) = oldest else {
            return Err(NicError::Sources { sources: sources.len(), most: MAX_SOURCES });
        };
        if oldest.retired.is_some_and(|retired| now - retired < max_age) {
            tracing::debug!(address = %oldest.address, "replies are no longer taken for it: too many addresses went away");
        }
        *oldest = slot;
    }
    Ok(())
}

/// An address as it lies in memory.
fn words(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::net::Ipv4Addr;

    const AGE: Nanos = Nanos::from_secs(61);

    fn address(n: usize) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap()).into()
    }

    fn address_v6(n: usize) -> IpAddr {
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | n as u128).into()
    }

    fn laid(slots: &Slots) -> Vec<IpAddr> {
        let mut settings = Settings::default();
        slots.lay(&mut settings);
        let v4 = &settings.sources[..settings.source_count as usize];
        let v6 = &settings.sources_v6[..settings.source_count_v6 as usize];
        let v4 = v4.iter().map(|n| IpAddr::from(n.to_ne_bytes()));
        let v6 = v6.iter().map(|words| <[u8; 16]>::try_from(words.map(u64::to_ne_bytes).concat()).unwrap().into());
        v4.chain(v6).collect()
    }

    #[test]
    fn an_address_that_went_away_is_kept_in_its_place_for_replies() {
        let at = Nanos::from_secs;
        let slots = Slots::default().take(&[address(1), address(2)], at(0), AGE).unwrap();
        let slots = slots.take(&[address(2), address(3)], at(1), AGE).unwrap();
        assert_eq!(laid(&slots), [1, 2, 3].map(address));
        let slots = slots.take(&[address(1)], at(2), AGE).unwrap();
        assert_eq!(laid(&slots), [1, 2, 3].map(address));
        assert_eq!(slots.v4[0].retired, None, "it came back");
    }

    #[test]
    fn each_family_has_places_of_its_own() {
        let at = Nanos::from_secs;
        let many: Vec<_> = (0..MAX_SOURCES).flat_map(|n| [address(n), address_v6(n)]).collect();
        let slots = Slots::default().take(&many, at(0), AGE).unwrap();
        let expected: Vec<_> = (0..MAX_SOURCES).map(address).chain((0..MAX_SOURCES).map(address_v6)).collect();
        assert_eq!(laid(&slots), expected);
        let slots = slots.take(&[address_v6(99)], at(1), AGE).unwrap();
        assert_eq!((laid(&slots)[MAX_SOURCES], laid(&slots)[0]), (address_v6(99), address(0)));
        assert_eq!(slots.v4.iter().filter(|slot| slot.retired == Some(at(1))).count(), MAX_SOURCES);
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
