//! A bridge can't be probed through as a card can: it is refused, and what the refusal names works.

use super::place::Place;
use xtask::lab::Answer;

#[test]
#[ignore = "needs root: make test runs it"]
fn a_bridge_names_what_works() {
    let Some(place) = Place::new("bridge", &Answer::Kernel) else { return };
    let ip = |arguments: &str| {
        let done = place.lab.near("ip").args(arguments.split_whitespace()).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    };
    let echolot = |arguments: &str| place.ended(&mut place.echolot(arguments.split_whitespace()));
    // As a virtual machines' host has it: the card in the bridge, and the address on the bridge.
    ip("link add br0 type bridge");
    ip("address flush dev near0");
    ip("link set near0 master br0");
    ip("address add 10.63.0.1/24 dev br0");
    ip("link set br0 up");
    ip("route add 10.64.0.0/12 via 10.63.0.2");

    let named = ["br0 is a bridge", "(near0)", "veth", "echolot1 master br0", "--mode generic"];
    echolot("sweep 10.64.0.0/30 -f none").refused(&named);
    echolot("ping -c 1 -I br0 10.64.0.1").refused(&named);
    let doctor = echolot("doctor -I br0");
    assert_eq!(doctor.status.code(), Some(1), "{}", doctor.stdout);
    assert!(named.iter().all(|part| doctor.stdout.contains(part)), "{}", doctor.stdout);
    let doctor = echolot("doctor -I near0");
    assert!(doctor.stdout.contains("doctor -I br0"), "{}", doctor.stdout);

    let generic = echolot("sweep 10.64.0.0/28 -I br0 --mode generic -f none");
    assert_eq!(generic.status.code(), Some(0), "{}", generic.stderr);

    ip("link add echolot0 type veth peer name echolot1");
    ip("link set echolot1 master br0 up");
    ip("address add 10.63.0.5/24 dev echolot0");
    ip("link set echolot0 up");
    ip("route add 10.64.0.0/12 via 10.63.0.2 dev echolot0 metric 9");
    let native = echolot("sweep 10.64.0.0/28 -I echolot0 --mode copy -f none");
    assert_eq!(native.status.code(), Some(0), "{}", native.stderr);
    assert!(native.stderr.contains("answered 16 (100 %)"), "{}", native.stderr);
}
