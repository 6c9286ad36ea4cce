//! The `relayops-intent` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // candle's own threads for additions and the like wait by spinning: a pause of one, on a machine that has other work
    // too, stops all. What is left to them is little; matrix products run on rayon's threads.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: no other thread reads the environment meanwhile, for there is none yet.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    relayops_intent::cli::run()
}
