//! What joins ports of several queues: taps and bridges in a network namespace of their own. QEMU's hub, which joins the others, has
//! one queue.

use std::path::Path;
use std::process::Command;

use super::scenario::Shape;
use crate::command::{is_root, run};

/// A namespace with two taps a pair, `nearN` and `farN`, on a bridge. It has no way out, and goes when this is dropped.
pub(super) struct Taps {
    namespace: String,
}

impl Taps {
    /// For so many pairs.
    ///
    /// # Errors
    /// Without root, or what the kernel refuses.
    pub(super) fn up(shape: Shape) -> Result<Self, String> {
        if !is_root() {
            return Err("virtio_net with several queues needs taps, and those root: run it through sudo".into());
        }
        let taps = Self { namespace: format!("el-vm-{}", std::process::id()) };
        run(Command::new("ip").args(["netns", "add", &taps.namespace]))?;
        // The bridge and the taps have addresses of their own, and would ask for neighbours and routers from them.
        let quiet = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
        run(taps.command(Path::new("sysctl")).args(["-q", "-w"]).args(quiet.split(' ')))?;
        for pair in 0..shape.cards {
            let bridge = format!("b{pair}");
            taps.ip(&format!("link add {bridge} type bridge mcast_snooping 0 stp_state 0"))?;
            for port in [format!("near{pair}"), format!("far{pair}")] {
                taps.ip(&format!("tuntap add {port} mode tap multi_queue"))?;
                taps.ip(&format!("link set {port} master {bridge} up"))?;
                // Whatever waits for room in the guest waits here: none of it is dropped while the guest's ring is being emptied.
                taps.ip(&format!("link set {port} txqueuelen 10000"))?;
            }
            taps.ip(&format!("link set {bridge} up"))?;
        }
        Ok(taps)
    }

    /// A command in there.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    fn ip(&self, arguments: &str) -> Result<(), String> {
        run(Command::new("ip").args(["-n", &self.namespace]).args(arguments.split(' ')))
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        // Taps and bridges go with it. If it is gone already, that is what was asked for.
        let _ = run(Command::new("ip").args(["netns", "del", &self.namespace]));
    }
}
