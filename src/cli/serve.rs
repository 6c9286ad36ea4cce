//! `relayops-intent serve`

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::say;
use crate::serve::{ServeOptions, bind};
use crate::{IntentError, Result};

/// Serve the page, the package and local models to this machine's browsers.
#[derive(Args)]
pub(super) struct ServeArgs {
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 8080, value_name = "N")]
    port: u16,
    /// Loopback address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    host: IpAddr,
    /// Folder that holds www/ and pkg/.
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Folder of GGUF files that the page offers.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
}

pub(super) fn run(args: ServeArgs) -> Result<ExitCode> {
    let options = ServeOptions { host: args.host, port: args.port, root: args.root, models: args.models };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| IntentError::io("runtime", error))?;
    runtime.block_on(async {
        let server = bind(options).await?;
        say(format_args!("listening on http://{}/", server.local_addr()))?;
        server.run(stopped()).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves at Ctrl-C, or at a termination request where the platform has those.
async fn stopped() {
    // Where a signal can't be watched the server just runs on.
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
