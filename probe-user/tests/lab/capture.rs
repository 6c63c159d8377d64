//! tcpdump in the far namespace: what really arrived and left there.

use crate::harness::{SOON, Site, now, output};
use probe_ebpf::wire::payload;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Stdio},
};
use xtask::{
    command::{send_signal, wait_until},
    lab::{End, FAR_ADDRESS, FAR_INTERFACE, Name},
};

/// Enough for Ethernet, IP of either family, ICMP and the stamp.
const HEAD: &str = "72";
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// Frames of a capture, in order.
pub(crate) struct Frames(Vec<u8>);

/// What names a probe: whom it went to, and the stamp in it. Its reply brings both back.
pub(crate) type Named = (IpAddr, u64);

impl Frames {
    fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        Self(bytes)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.get(FILE_HEADER..).unwrap_or_default();
        std::iter::from_fn(move || {
            let length = u32::from_ne_bytes(rest.get(8..12)?.try_into().unwrap()) as usize;
            let frame = rest.get(FRAME_HEADER..FRAME_HEADER + length)?;
            rest = &rest[FRAME_HEADER + length..];
            Some(frame)
        })
    }

    /// The probes' requests.
    pub(crate) fn requests(&self) -> impl Iterator<Item = Named> {
        self.iter().filter_map(|frame| named(frame, Way::There))
    }

    /// Their replies.
    pub(crate) fn replies(&self) -> impl Iterator<Item = Named> {
        self.iter().filter_map(|frame| named(frame, Way::Back))
    }
}

/// A request, or its reply.
#[derive(Clone, Copy)]
enum Way {
    There,
    Back,
}

/// Whom the probe in a frame went to, and its stamp. None: it is not about one, or about one to the far end's own address.
fn named(frame: &[u8], way: Way) -> Option<Named> {
    let (addresses, message) = match (frame.get(12..14)?, frame.get(20)?, frame.get(23)?) {
        ([0x08, 0x00], _, 1) => ([v4(frame, 26)?, v4(frame, 30)?], 34),
        ([0x86, 0xdd], 58, _) => ([v6(frame, 22)?, v6(frame, 38)?], 54),
        _ => return None,
    };
    let ([source, destination], is_v4) = (addresses, addresses[0].is_ipv4());
    let (target, kind) = match way {
        Way::There => (destination, if is_v4 { 8 } else { 128 }),
        Way::Back => (source, if is_v4 { 0 } else { 129 }),
    };
    let stamp = frame.get(message + 8..message + 16)?;
    let is_probe = frame[message] == kind && !addresses.contains(&FAR_ADDRESS.into());
    is_probe.then(|| (target, payload::sent(u64::from_be_bytes(stamp.try_into().unwrap()), now())))
}

fn v4(frame: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).unwrap()).into())
}

fn v6(frame: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).unwrap()).into())
}

/// tcpdump at work; killed if this is dropped early.
pub(crate) struct Capture {
    tcpdump: Child,
    told: BufReader<ChildStderr>,
    pub(crate) file: PathBuf,
    lab: Name,
}

impl Capture {
    /// The beginnings of all ICMP frames, both ways.
    pub(crate) fn start(site: &Site) -> Self {
        Self::of(site, &["-s", HEAD, "icmp"])
    }

    /// All ICMP frames whole.
    pub(crate) fn of_whole_frames(site: &Site) -> Self {
        Self::of(site, &["-s", "0", "icmp"])
    }

    /// The same of both families.
    pub(crate) fn of_both_families(site: &Site) -> Self {
        Self::of(site, &["-s", "0", "icmp or icmp6"])
    }

    /// The same, and all TCP frames.
    pub(crate) fn of_tcp(site: &Site) -> Self {
        Self::of(site, &["-s", "0", "tcp or icmp or icmp6"])
    }

    fn of(site: &Site, options: &[&str]) -> Self {
        let file = site.path("far.pcap");
        let mut tcpdump = site.far("tcpdump");
        // A buffer for a second in which tcpdump gets no CPU; each frame is in the file once it is read.
        tcpdump.args(["-i", FAR_INTERFACE, "-B", "65536", "-U", "-n", "-Z", "root", "-w"]).arg(&file);
        let mut tcpdump = tcpdump.args(options).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(tcpdump.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(told.read_line(&mut line).unwrap(), 0, "tcpdump did not start");
        }
        Self { tcpdump, told, file, lab: site.name().clone() }
    }

    /// Stops it once it holds all that was sent until now, and reads it. A frame that tcpdump lost is a failure.
    pub(crate) fn stop(mut self) -> Frames {
        // What is in the kernel's buffer when tcpdump is told to stop would be missing, so the last frame is one that we
        // know and wait for. ARP may be needed, and an answer isn't.
        let mut ping = self.lab.command(End::Near, "ping");
        let _ = ping.args(["-n", "-c", "1", "-W", "1", &FAR_ADDRESS.to_string()]).output();
        let held = wait_until(SOON, || self.ends_with_ping().then_some(()));
        held.expect("the capture never held the last frame");
        send_signal("INT", self.tcpdump.id());
        assert!(self.tcpdump.wait().unwrap().success());
        let mut told = String::new();
        self.told.read_to_string(&mut told).unwrap();
        let dropped = told.lines().find_map(|line| line.strip_suffix(" packets dropped by kernel")).expect(&told);
        assert_eq!(dropped, "0", "tcpdump was too slow and lost frames: this says nothing about echolot");
        Frames::read(&self.file)
    }

    fn ends_with_ping(&self) -> bool {
        let mut file = File::open(&self.file).unwrap();
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(length.saturating_sub(512))).unwrap();
        let mut end = Vec::new();
        file.read_to_end(&mut end).unwrap();
        // The address itself, as bytes, in the last frames: replies of ours don't come from there.
        end.windows(4).any(|bytes| bytes == FAR_ADDRESS.octets())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// What tshark prints for a capture, checksums being verified.
#[track_caller]
pub(crate) fn tshark(site: &Site, file: &Path, filter: &str, fields: &[&str]) -> Vec<String> {
    // In a namespace, so that it has nowhere to go, whatever its preferences say.
    let mut tshark = site.far("tshark");
    tshark.args(["-n", "-r"]).arg(file).args([
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
        "-Y",
        filter,
        "-T",
        "fields",
    ]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    output(&mut tshark).lines().map(str::to_owned).collect()
}
