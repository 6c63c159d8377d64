//! A question to a generic netlink family, and the attributes of its answer.
//!
//! Two families with a few questions: some bytes by hand are less than the crates for it.

use rtnetlink::{
    packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NlaBuffer, NlasIterator},
    sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC},
};
use std::io;

/// See linux/netlink.h and linux/genetlink.h.
const NLMSG_HEADER: usize = 16;
const GENL_HEADER: usize = 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// The attributes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer(Vec<u8>);

impl Answer {
    /// The attribute as an unsigned number of 1, 2, 4 or 8 bytes.
    pub(crate) fn number(&self, kind: u16) -> Option<u64> {
        let attributes = NlasIterator::new(self.0.as_slice()).map_while(Result::ok);
        attributes.filter(|attribute| attribute.kind() == kind).find_map(|attribute| number(&attribute))
    }
}

fn number(attribute: &NlaBuffer<&[u8]>) -> Option<u64> {
    let bytes = attribute.value();
    Some(match bytes.len() {
        1 => u64::from(bytes[0]),
        2 => u64::from(u16::from_ne_bytes(bytes.try_into().ok()?)),
        4 => u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)),
        8 => u64::from_ne_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

/// An attribute on the wire, padded to four bytes.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // Values here are a few bytes: an index, a name.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Asks `command` of a family, with one attribute. NotFound where the kernel doesn't know the family.
pub(crate) fn ask(family: &str, command: u8, question: &[u8]) -> io::Result<Answer> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    let number = family_number(&socket, family)?;
    exchange(&socket, number, command, 1, question)
}

/// Asks for all that `command` of a family has to tell of the question: an answer each.
pub(crate) fn dump(family: &str, command: u8, question: &[u8]) -> io::Result<Vec<Answer>> {
    let socket = Socket::new(NETLINK_GENERIC)?;
    let number = family_number(&socket, family)?;
    send(&socket, number, NLM_F_REQUEST | NLM_F_DUMP, (command, 1), question)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if collect(&datagram, &mut answers)? {
            return Ok(answers);
        }
    }
}

fn family_number(socket: &Socket, family: &str) -> io::Result<u16> {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, &[family.as_bytes(), &[0]].concat());
    exchange(socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 2, &name)?
        .number(CTRL_ATTR_FAMILY_ID)
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn exchange(socket: &Socket, kind: u16, command: u8, version: u8, attributes: &[u8]) -> io::Result<Answer> {
    send(socket, kind, NLM_F_REQUEST, (command, version), attributes)?;
    // The kernel has answered before send_to returns.
    let (answer, _) = socket.recv_from_full()?;
    let (kind, body, _) = message(&answer)?;
    parse(kind, body)
}

fn send(socket: &Socket, kind: u16, flags: u16, (command, version): (u8, u8), attributes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(NLMSG_HEADER + GENL_HEADER + attributes.len()).map_err(io::Error::other)?;
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend([command, version, 0, 0]);
    message.extend(attributes);
    socket.send_to(&message, &SocketAddr::new(0, 0), 0).map(|_| ())
}

/// The first message of a datagram: its kind, what it says, and the messages behind it.
fn message(datagram: &[u8]) -> io::Result<(u16, &[u8], &[u8])> {
    let header: &[u8; NLMSG_HEADER] = datagram.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let body = datagram.get(NLMSG_HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
    let rest = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok((u16::from_ne_bytes([header[4], header[5]]), body, rest))
}

fn parse(kind: u16, body: &[u8]) -> io::Result<Answer> {
    let word: [u8; 4] = *body.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    if kind == NLMSG_ERROR {
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(word).saturating_neg()));
    }
    Ok(Answer(body[GENL_HEADER..].to_vec()))
}

/// Takes the answers out of one datagram of a dump. True if it was the last.
fn collect(mut datagram: &[u8], answers: &mut Vec<Answer>) -> io::Result<bool> {
    while !datagram.is_empty() {
        let (kind, body, rest) = message(datagram)?;
        if kind == NLMSG_DONE {
            // Carries what became of it: 0, or an error as a negative number.
            return match body.first_chunk().map_or(0, |word| i32::from_ne_bytes(*word)) {
                0 => Ok(true),
                error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
            };
        }
        answers.push(parse(kind, body)?);
        datagram = rest;
    }
    Ok(false)
}

/// The answers of a dump as the kernel sent them, for tests of who reads them.
#[cfg(test)]
pub(crate) fn answers(datagrams: &[&[u8]]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for datagram in datagrams {
        assert!(collect(datagram, &mut answers).is_ok(), "not a dump");
    }
    answers
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_answer_panics(message: Vec<u8>, kind in 0_u16..20) {
            let mut answers = Vec::new();
            let _ = collect(&message, &mut answers);
            for answer in answers {
                answer.number(kind);
            }
        }

        #[test]
        fn attributes_are_found(first: u32, second: u64, third: u16) {
            let attributes = [attribute(3, &first.to_ne_bytes()), attribute(7, &second.to_ne_bytes()), attribute(9, &third.to_ne_bytes())];
            let answer = Answer(attributes.concat());
            prop_assert_eq!(answer.number(3), Some(u64::from(first)));
            prop_assert_eq!(answer.number(7), Some(second));
            prop_assert_eq!(answer.number(9), Some(u64::from(third)));
            prop_assert_eq!(answer.number(4), None);
        }
    }

    #[test]
    fn the_kernel_answers() {
        // The controller is a family that every kernel has.
        let question = attribute(CTRL_ATTR_FAMILY_NAME, b"nlctrl\0");
        let answer = ask("nlctrl", CTRL_CMD_GETFAMILY, &question).unwrap();
        assert_eq!(answer.number(CTRL_ATTR_FAMILY_ID), Some(u64::from(GENL_ID_CTRL)));
        assert_eq!(ask("no-such-family", 1, &[]).err().unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_kernel_tells_all() {
        // Every kernel has more than one family; among them the controller itself.
        let families = dump("nlctrl", CTRL_CMD_GETFAMILY, &[]).unwrap();
        let numbers: Vec<_> = families.iter().filter_map(|family| family.number(CTRL_ATTR_FAMILY_ID)).collect();
        assert!(numbers.len() > 1 && numbers.contains(&u64::from(GENL_ID_CTRL)), "{numbers:?}");
    }
}
