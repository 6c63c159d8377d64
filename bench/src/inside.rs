//! `bench inside`: the parts of a measurement that must run in one of the lab's namespaces. Other commands start it.

use crate::{
    connects::{self, Connecting},
    lab::READY,
    paths,
    rungs::{self, Rung},
};
use clap::{Subcommand, ValueEnum as _};
use echolot::nic;
use std::{io::Read as _, net::UdpSocket, path::PathBuf, time::Duration};
use testbed::bare;
use xtask::lab::{FAR_ADDRESS, FAR_INTERFACE, NEAR_ADDRESS, NEAR_INTERFACE};

/// What to do in there.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// Near end: let everything through, natively, until standard input closes
    Pass,
    /// Far end: drop everything in XDP, until standard input closes
    Drop,
    /// Far end: answer echo requests and SYNs to 10.64.0.0/12 in XDP and drop what goes elsewhere, until standard input
    /// closes
    Half,
    /// Far end: the same, but what goes elsewhere is answered by turns of each address
    ByTurns,
    /// Far end: play all routers on the way to 10.64.0.0/12 in XDP, until standard input closes; then write down what was asked
    Routers { counts: PathBuf },
    /// Far end: a packet to the near end every 100 ms, until standard input closes
    Trickle,
    /// Near end: send one prepared frame over and over
    Afxdp { seconds: f64 },
    /// Near end: write one prepared frame over and over, in zero-copy mode
    ZeroCopy { seconds: f64 },
    /// Near end: probe addresses once a second in the manner of one of the ladder's rungs
    Rung { rung: Rung, addresses: u32, seconds: u32 },
    /// Near end: connect to live addresses and to silent ones beside them, as people write it
    Connect { how: Connecting, live: u32, silent: u32, seconds: u32 },
    /// Near end: send live frames without table and ledger
    LiveFrames { seconds: f64 },
}

impl Part {
    /// The words for it.
    pub(crate) fn words(&self) -> Vec<String> {
        match self {
            Self::Pass => vec!["pass".into()],
            Self::Drop => vec!["drop".into()],
            Self::Half => vec!["half".into()],
            Self::ByTurns => vec!["by-turns".into()],
            Self::Routers { counts } => vec!["routers".into(), counts.display().to_string()],
            Self::Trickle => vec!["trickle".into()],
            Self::Afxdp { seconds } => vec!["afxdp".into(), seconds.to_string()],
            Self::ZeroCopy { seconds } => vec!["zero-copy".into(), seconds.to_string()],
            Self::Rung { rung, addresses, seconds } => {
                let name = rung.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
                vec!["rung".into(), name, addresses.to_string(), seconds.to_string()]
            }
            Self::Connect { how, live, silent, seconds } => {
                let name = how.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
                vec!["connect".into(), name, live.to_string(), silent.to_string(), seconds.to_string()]
            }
            Self::LiveFrames { seconds } => vec!["live-frames".into(), seconds.to_string()],
        }
    }
}

pub(crate) fn run(part: &Part) -> Result<(), String> {
    let said = |error: nic::NicError| error.to_string();
    match part {
        Part::Pass => {
            let _held = bare::Passage::attach(NEAR_INTERFACE).map_err(said)?;
            hold();
        }
        Part::Drop => {
            let _held = bare::FarEnd::dropping(FAR_INTERFACE).map_err(said)?;
            hold();
        }
        Part::Half => {
            let _held = bare::FarEnd::half_silent(FAR_INTERFACE).map_err(said)?;
            hold();
        }
        Part::ByTurns => {
            let _held = bare::FarEnd::by_turns(FAR_INTERFACE).map_err(said)?;
            hold();
        }
        Part::Routers { counts } => {
            let held = std::cell::OnceCell::new();
            let ready = || {
                held.get_or_init(|| std::thread::spawn(hold));
            };
            paths::scale::play(counts, &|| held.get().is_some_and(|held| held.is_finished()), &ready)?;
        }
        Part::Trickle => {
            let socket = UdpSocket::bind((FAR_ADDRESS, 0)).map_err(|error| format!("a UDP socket: {error}"))?;
            let held = std::thread::spawn(hold);
            while !held.is_finished() {
                // The discard port. Nobody listens, and its error is no matter.
                let _ = socket.send_to(b"echolot", (NEAR_ADDRESS, 9));
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Part::Afxdp { seconds } => send(bare::afxdp, *seconds)?,
        Part::ZeroCopy { seconds } => send(bare::zero_copy, *seconds)?,
        Part::Rung { rung, addresses, seconds } => {
            let heard = rungs::run(*rung, *addresses, *seconds)?;
            println!("{}", serde_json::to_string(&heard).map_err(|error| error.to_string())?);
        }
        Part::Connect { how, live, silent, seconds } => {
            let connected = connects::run(*how, *live, *silent, *seconds)?;
            println!("{}", serde_json::to_string(&connected).map_err(|error| error.to_string())?);
        }
        Part::LiveFrames { seconds } => send(bare::live_frames, *seconds)?,
    }
    Ok(())
}

/// Until whoever started this closes our standard input, or dies.
fn hold() {
    println!("{READY}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn send(mechanism: fn(&str, Duration) -> Result<bare::Sent, nic::NicError>, seconds: f64) -> Result<(), String> {
    // The CPU of echolot's sender.
    nic::thread::prepare(crate::measure::first_cpu()).map_err(|error| error.to_string())?;
    let sent = mechanism(NEAR_INTERFACE, Duration::from_secs_f64(seconds)).map_err(|error| error.to_string())?;
    println!("{} {}", sent.frames, sent.time.as_secs_f64());
    Ok(())
}
