//! Does another XDP program hold the interface?

use super::{Check, Status};
use crate::route::Interface;

pub(super) fn check(interface: &Interface) -> Check {
    let name = format!("{} program", interface.name);
    match &interface.xdp {
        None => Check::new(name, Status::Ok, "no XDP program is attached"),
        Some(program) => Check::new(name, Status::Problem, format!("XDP program {program} is attached already"))
            .advise(format!(
                "stop what it belongs to (`bpftool prog show id {}`, `bpftool link`): an interface takes one",
                program.id
            )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        doctor::link::tests::interface,
        route::{AttachedProgram, XdpMode},
    };

    #[test]
    fn an_attached_program_is_named() {
        assert_eq!(check(&interface()).status, Status::Ok);
        let program = AttachedProgram { id: 42, name: Some("filter".to_owned()), mode: XdpMode::Native };
        let check = check(&Interface { xdp: Some(program), ..interface() });
        assert_eq!(check.status, Status::Problem);
        assert_eq!(check.detail, "XDP program filter (program 42, native) is attached already");
    }
}
