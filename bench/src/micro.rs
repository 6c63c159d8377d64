//! `bench micro`: what the operations under a probe cost, without any network.

use crate::report::{Common, Measured};
use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    ledger::{
        Ledger,
        window::{Place, Standing},
    },
    schedule::{Flights, Pacer},
    targets::{self, Exclusions, Group, GroupInput, TargetList},
    wire::{Key, Origin, ProbeFields, Shape, Template, read_frame},
};
use std::{hint::black_box, net::Ipv4Addr, process::ExitCode, rc::Rc, sync::atomic::AtomicU64, time::Instant};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- micro
  cargo run --release -p bench -- micro --json > micro.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

/// An operation: what it is, and a loop that does it so often and returns something that depends on each.
type Operation = (&'static str, &'static str, Box<dyn FnMut(u64) -> u64>);

const KEY: Key = Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
const FIRST: u32 = 0x0a40_0000;

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let many: u64 = if args.common.short { 20_000 } else { 20_000_000 };
    let mut operations = operations(args.common.short)?;
    let names: Vec<(String, String)> =
        operations.iter().map(|(name, with, _)| ((*name).into(), (*with).into())).collect();
    let indices: Vec<usize> = (0..operations.len()).collect();
    args.common.table(
        ("micro", "Nanoseconds an operation in a loop of it alone, one thread, pinned. No network"),
        &[("ns", "ns", 2)],
        &indices,
        |index| names[*index].clone(),
        6.0,
        |index| {
            // One CPU: a move between two is no part of an operation.
            echolot::nic::thread::prepare(crate::measure::first_cpu()).map_err(|error| error.to_string())?;
            let operation = &mut operations[*index].2;
            // Once for the caches.
            black_box(operation(many / 10));
            let begun = Instant::now();
            black_box(operation(many));
            #[expect(clippy::cast_precision_loss, reason = "a count, for a mean")]
            let count = many as f64;
            Ok(Measured::new(&[("ns", begun.elapsed().as_secs_f64() * 1e9 / count)]))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// A number as an index: counts here stay far below 2^32.
fn low(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}

fn fields(number: u64) -> ProbeFields {
    ProbeFields {
        destination: Ipv4Addr::from_bits(FIRST + low(number & 0xf_ffff)).into(),
        target: TargetIndex(low(number & 0xf_ffff)),
        generation: Generation(0),
        sequence: Sequence((number & 0xffff) as u16),
        sent: Nanos(1_000_000_000 + number),
        next_hop_mac: [2, 0, 0, 0, 0, 1],
    }
}

fn operations(short: bool) -> Result<Vec<Operation>, String> {
    let origin = Origin {
        mac: [2, 0, 0, 0, 0, 2],
        source: Ipv4Addr::new(10, 63, 0, 1).into(),
        identifier: 7,
        first_port: 61_000,
        flow_key: 0,
    };
    let template = Template::new(Shape::default(), origin).map_err(|error| error.to_string())?;
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    // A reply, as steer hands it over: a request turned round. The sums stay right where type and checksum change alike.
    let mut reply = frame.clone();
    template.write(&mut reply, &fields(0), &KEY);
    let (source, destination) = (reply[26..30].to_vec(), reply[30..34].to_vec());
    reply[26..30].copy_from_slice(&destination);
    reply[30..34].copy_from_slice(&source);
    reply[34] = 0;
    let sum = u32::from(u16::from_be_bytes([reply[36], reply[37]])) + 0x0800;
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    reply[36..38].copy_from_slice(&sum.to_be_bytes());
    reply[..8].copy_from_slice(&1_000_050_000u64.to_ne_bytes());
    let heard = match read_frame(&reply) {
        Ok(echolot::wire::Heard::Reply(heard)) => heard,
        other => return Err(format!("the reply made here does not read as one: {other:?}")),
    };
    if !heard.is_proven(&KEY, Generation(0)) {
        return Err("the reply made here is not proven".into());
    }

    let many: u32 = if short { 1_000 } else { 1_000_000 };
    let ledger = ledger(many)?;
    // A walk that neither caches nor the prefetcher know: replies come in any order. Odd, so that it visits every target.
    let scatter = move |number: u64| TargetIndex((number.wrapping_mul(2_654_435_761) % u64::from(many)) as u32);
    let window = [AtomicU64::new(0), AtomicU64::new(0)];
    let mut flights = Flights::new(Nanos::from_millis(1));
    let mut clock = 0;
    let mut pacer = Pacer::new(many, Nanos::from_millis(1_000), Nanos::ZERO, Some(u64::MAX));
    let ordered = Rc::new(ledger);
    let scattered = Rc::clone(&ordered);
    let fetched = Rc::clone(&ordered);

    Ok(vec![
        (
            "wire: write a probe",
            "template laid; cookie, two checksums",
            Box::new(move |count| {
                for number in 0..count {
                    template.write(black_box(&mut frame), &fields(number), &KEY);
                }
                u64::from(frame[40])
            }),
        ),
        (
            "wire: read a reply",
            "checksum verified",
            Box::new(move |count| {
                (0..count).map(|_| u64::from(black_box(read_frame(black_box(&reply))).is_ok())).sum()
            }),
        ),
        (
            "wire: prove a reply",
            "SipHash-1-3",
            Box::new(move |count| {
                (0..count).map(|_| u64::from(black_box(&heard).is_proven(&KEY, Generation(0)))).sum()
            }),
        ),
        (
            "ledger: enter, answer, take out",
            "one place in a window, in the cache",
            Box::new(move |count| {
                let mut answered = 0;
                for number in 0..count {
                    let place = Place::new(black_box(&window), low(number & 63));
                    place.enter();
                    answered += u64::from(place.settle(Standing::Answered).is_ok());
                    black_box(place.take());
                }
                answered
            }),
        ),
        (
            "ledger: a probe's whole life, in order",
            "a million targets: enter, answer, count, take out, health untouched",
            Box::new(move |count| {
                (0..count).map(|number| life(&ordered, TargetIndex((number % u64::from(many)) as u32), number)).sum()
            }),
        ),
        (
            "ledger: a probe's whole life, scattered",
            "the same in an order that no cache foresees",
            Box::new(move |count| (0..count).map(|number| life(&scattered, scatter(number), number)).sum()),
        ),
        (
            "ledger: a probe's whole life, scattered and fetched",
            "the same in bursts of 64, each fetched before",
            Box::new(move |count| {
                let mut answered = 0;
                for burst in 0..count / 64 {
                    let numbers = burst * 64..(burst + 1) * 64;
                    numbers.clone().for_each(|number| fetched.fetch(scatter(number)));
                    answered += numbers.map(|number| life(&fetched, scatter(number), number)).sum::<u64>();
                }
                answered
            }),
        ),
        (
            "schedule: a due time",
            "a million slots",
            Box::new(move |count| {
                (0..count)
                    .map(|_| pacer.next(black_box(Nanos::MAX)).map_or(0, |tick| tick.due.0))
                    .fold(0, u64::wrapping_add)
            }),
        ),
        (
            "schedule: a deadline",
            "pushed in 64s, landed one by one",
            Box::new(move |count| {
                let mut landed = 0;
                for _ in 0..count / 64 {
                    clock += 32_000;
                    flights.push(64, Nanos(clock), Nanos(clock));
                    while flights.land(black_box(Nanos(clock))).is_some() {
                        landed += 1;
                    }
                }
                landed
            }),
        ),
    ])
}

/// What the ledger does for an answered probe: its account is looked up on the way out and on the way back.
fn life(ledger: &Ledger, target: TargetIndex, number: u64) -> u64 {
    let out = ledger.account(target);
    out.count_entered();
    out.place(number).enter();
    let back = ledger.account(target);
    let place = back.place(number);
    if place.settle(Standing::Answered).is_ok() {
        back.count_answered(Nanos(number & 0xffff), Nanos(number));
    }
    place.take() as u64
}

fn ledger(many: u32) -> Result<Ledger, String> {
    let last = Ipv4Addr::from_bits(FIRST + many - 1);
    let list = TargetList::from_arguments(&[format!("10.64.0.0-{last}")]).map_err(|error| error.to_string())?;
    let group =
        Group { timeout: Nanos::from_millis(1_000), interval: Nanos::from_millis(1_000), ..Group::named("micro") };
    let input = GroupInput { group, labels: std::collections::BTreeMap::default(), lists: vec![list] };
    let options = targets::Options { seed: Some(1), ..targets::Options::default() };
    let plan = targets::build(vec![input], &Exclusions::default(), &options).map_err(|error| error.to_string())?;
    let hops = vec![0; plan.targets.len()];
    Ok(Ledger::new(&plan, &hops, 1, false))
}
