//! What holds of single cases.

use super::*;
#[test]
fn checksums_of_flows_are_different_and_no_zeros() {
    let all: Vec<u16> = (0..=u16::MAX).map(icmp::checksum).collect();
    assert!(all.iter().all(|checksum| !matches!(*checksum, 0 | u16::MAX)));
    assert_eq!(all[..0xfffe].iter().collect::<BTreeSet<_>>().len(), 0xfffe);
}

#[test]
fn payloads_that_no_probe_can_have() {
    for family in Family::ALL {
        let origin = Origin { mac: [0; 6], source: ours(family), identifier: 1, first_port: 61_000, flow_key: 0 };
        let most = if family == Family::V4 { 1472 } else { 1452 };
        for payload in [0, 17, most + 1, 65_508, u16::MAX] {
            let shape = Shape::echo(payload).over(family);
            assert_eq!(Template::new(shape, origin).map(|_| ()), Err(ShapeError::Payload(shape)));
        }
        for payload in [18, most] {
            let shape = Shape::echo(payload).over(family);
            assert!(Template::new(shape, origin).is_ok());
            assert_eq!(u32::from(payload) + if family == Family::V4 { 28 } else { 48 }, shape.datagram());
        }
    }
    let text = |shape| ShapeError::Payload(shape).to_string();
    assert_eq!(text(Shape::echo(17)), "a payload of 17 bytes: a probe over IPv4 carries 18 to 1472");
    let v6 = Shape::echo(1453).over(Family::V6);
    assert_eq!(text(v6), "a payload of 1453 bytes: a probe over IPv6 carries 18 to 1452");
    assert_eq!((Template::HEAD, Template::HEAD_V6), (60, 80));
}

#[test]
fn a_source_has_the_family_of_its_probes() {
    for (family, other) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let origin = Origin { mac: [0; 6], source: ours(other), identifier: 1, first_port: 61_000, flow_key: 0 };
        let shape = Shape::default().over(family);
        assert_eq!(Template::new(shape, origin).map(|_| ()), Err(ShapeError::Source(shape)));
    }
}

#[test]
fn every_verdict_has_its_counter() {
    for (index, verdict) in Verdict::ALL.iter().enumerate() {
        assert_eq!(*verdict as usize, index);
    }
    for verdict in Verdict::ALL.into_iter().filter(|verdict| verdict.is_rejected()) {
        // Of fragments only replies' first ones are rejected.
        let name = if verdict == Verdict::FragmentedReply { "fragment" } else { verdict.name() };
        assert!(RejectedReason::ALL.iter().any(|reason| reason.name() == name), "{name} is a reason of its own");
    }
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", Key([0x1234, 0x5678])), "Key(..)");
}
