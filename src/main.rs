//! `epoch`: the command line.

fn main() -> std::process::ExitCode {
    epoch::cli::main()
}
