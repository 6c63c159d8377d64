//! The echolot command: everything is in the library, see `echolot::cli`.

/// The ledger of many targets lies in huge pages where the kernel has them.
#[global_allocator]
static ALLOCATOR: echolot::nic::HugePages = echolot::nic::HugePages;

fn main() -> std::process::ExitCode {
    echolot::cli::main()
}
