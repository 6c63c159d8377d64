//! Builds the XDP programs of far ends and measurements. The object is `echolot-far` in OUT_DIR.

fn main() -> std::process::ExitCode {
    xtask::ebpf::build_script("../../probe-ebpf", "echolot-far")
}
