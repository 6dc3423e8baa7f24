//! `amis-train`: trains, step by step.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
