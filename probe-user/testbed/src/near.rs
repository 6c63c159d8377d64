//! The prober's own side of the simulated network: what its machine, its card, its gateways and its ring do to what it sends and receives.

use echolot::base::Nanos;

/// What happens on the prober's side. By default nothing does.
#[derive(Clone, Debug, Default)]
pub struct Near {
    /// The share of probes that this machine refuses.
    pub refuse: f64,
    /// The card that sends, if it is slower than this machine.
    pub card: Option<Card>,
    /// Nothing that was sent by this next hop in this stretch arrives: it forwards nothing.
    pub deaf_hops: Vec<(u32, Silence)>,
    /// Received frames that the ring holds while nobody takes them; what comes then is dropped. 0: without limit.
    pub ring: usize,
}

/// A card that takes its time.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// It sends a probe in this time.
    pub pace: Nanos,
    /// So many probes wait in it at most.
    pub queue: usize,
    /// It says how many more it takes. Else a probe that finds its queue full is refused, and whoever has room is a matter of luck:
    /// one in eight gets a place that another one before it was refused.
    pub tells: bool,
}

/// From one moment of the network's clock to another.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// First moment.
    pub from: Nanos,
    /// First moment after.
    pub to: Nanos,
}
