//! `relayops-intent fetch`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{progress, say};
use crate::Result;
use crate::fetch::{FetchRequest, Phase, fetch, models_dir};

/// Fetch a model file, resumable and verified, and print its path.
#[derive(Args)]
pub(super) struct FetchArgs {
    /// qwen2.5-0.5b or qwen2.5-1.5b.
    #[arg(value_name = "NAME")]
    name: String,
    /// A folder that holds the file, or the address of a mirror [default: the Hugging Face hub].
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// Folder to put the file into [default: RELAYOPS_MODELS, else the cache folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &FetchArgs) -> Result<ExitCode> {
    let folder = args.out.clone().map_or_else(models_dir, Ok)?;
    let mut request = FetchRequest::named(&args.name, folder)?;
    request.from = args.from.as_deref().map(str::parse).transpose()?;
    if request.from.is_some() {
        // The token is a credential of the hub.
        request.token = None;
    }
    let bar = progress::bar(Some(0), "{msg} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    let path = fetch(&request, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        match progress.phase {
            Phase::Wait { pause, reason } => {
                bar.suspend(|| {
                    eprintln!("relayops-intent: {reason}; trying again in {:.1} s", pause.as_secs_f64())
                });
            }
            Phase::Corrupted => {
                bar.suspend(|| {
                    eprintln!("relayops-intent: what arrived does not match its digest; fetching it again")
                });
            }
            Phase::OtherVersion { sha256 } => {
                bar.suspend(|| {
                    eprintln!("relayops-intent: the source has another version, SHA-256 {sha256}")
                });
            }
            Phase::Verify => bar.set_message("verifying"),
            Phase::Connect => bar.set_message("connecting"),
            Phase::Download => bar.set_message("downloading"),
            Phase::Copy => bar.set_message("copying"),
            Phase::Done => bar.set_message("done"),
        }
    })?;
    bar.finish_and_clear();
    say(path.display())?;
    Ok(ExitCode::SUCCESS)
}
