//! The echolot command: everything is in the library, see `echolot::cli`.

fn main() -> std::process::ExitCode {
    echolot::cli::main()
}
