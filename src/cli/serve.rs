//! `relayops-intent serve`

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use etcetera::BaseStrategy;

use super::say;
use crate::serve::inbox::{InboxOptions, Token};
use crate::serve::{ServeOptions, bind, log};
use crate::{IntentError, Result};

/// Most days that can be counted in milliseconds by everything that counts them.
const MAX_DAYS: u32 = 36_500;

/// Serve the page, the package and local models, and take escalations into an inbox.
#[derive(Args)]
pub(super) struct ServeArgs {
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 8080, value_name = "N")]
    port: u16,
    /// Address to listen on; beyond loopback only with --token-file.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    host: IpAddr,
    /// Folder that holds www/ and pkg/.
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Folder of GGUF files, packs and adapters that the page offers; repeatable. Adapters of ROOT/models are offered too.
    #[arg(long, value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Host name, beside localhost and addresses, by which this server is called; repeatable.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Where the log goes: JSON lines on standard error, or nowhere.
    #[arg(long, value_enum, default_value_t = Log::Json)]
    log: Log,
    #[command(flatten)]
    inbox: InboxArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    Json,
    Off,
}

#[derive(Args)]
#[command(next_help_heading = "Inbox")]
struct InboxArgs {
    /// SQLite file of the inbox [default: inbox.sqlite3 in the platform's data folder for relayops-intent].
    #[arg(long, value_name = "FILE", conflicts_with = "no_inbox")]
    inbox: Option<PathBuf>,
    /// Take no escalations: /api/ is not there.
    #[arg(long)]
    no_inbox: bool,
    /// File with the bearer token that everything of the inbox asks for; at least 16 characters.
    #[arg(long, value_name = "FILE", conflicts_with = "no_inbox")]
    token_file: Option<PathBuf>,
    /// File with a token that only sends escalations, for pages that customers see.
    #[arg(long, value_name = "FILE", requires = "token_file")]
    submit_token_file: Option<PathBuf>,
    /// Origin of a console elsewhere whose page may use the inbox, as https://console.example; repeatable.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Label that agents may give; repeatable [default: those of the built-in configuration].
    #[arg(long, value_name = "NAME")]
    label: Vec<String>,
    /// Longest body of a request, in bytes.
    #[arg(long, default_value_t = 262_144, value_name = "N")]
    max_body_bytes: usize,
    /// Escalations a second from one address, in the long run.
    #[arg(long, default_value = "10", value_name = "N")]
    rate: NonZeroU32,
    /// Escalations from one address at once.
    #[arg(long, default_value = "60", value_name = "N")]
    burst: NonZeroU32,
    /// Proxy in front, whose X-Forwarded-For names the address that --rate counts.
    #[arg(long, value_name = "IP")]
    trusted_proxy: Option<IpAddr>,
    /// Most consoles that watch the inbox live.
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_streams: usize,
    /// Days after which messages are deleted; 0 keeps them.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_DAYS)))]
    keep_days: u32,
    /// Write into the log what customers wrote.
    #[arg(long)]
    log_messages: bool,
}

pub(super) fn run(args: ServeArgs) -> Result<ExitCode> {
    if args.log == Log::Json {
        log::install();
    }
    let options = ServeOptions {
        host: args.host,
        port: args.port,
        root: args.root,
        models: args.models,
        allow_hosts: args.allow_host,
        inbox: args.inbox.options()?,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| IntentError::io("runtime", error))?;
    runtime.block_on(async {
        let server = bind(options).await?;
        say(format_args!("listening on http://{}/", server.local_addr()))?;
        server.run(stopped()).await
    })?;
    Ok(ExitCode::SUCCESS)
}

impl InboxArgs {
    fn options(self) -> Result<Option<InboxOptions>> {
        if self.no_inbox {
            return Ok(None);
        }
        let file = match self.inbox {
            Some(file) => file,
            None => default_file()?,
        };
        let mut options = InboxOptions::new(file);
        options.token = token("token-file", self.token_file.as_deref())?;
        options.submit_token = token("submit-token-file", self.submit_token_file.as_deref())?;
        options.origins = self.allow_origin;
        if !self.label.is_empty() {
            options.labels = self.label;
        }
        options.max_body_bytes = self.max_body_bytes;
        options.rate = self.rate;
        options.burst = self.burst;
        options.trusted_proxy = self.trusted_proxy;
        options.max_streams = self.max_streams;
        let day = Duration::from_secs(24 * 3_600);
        options.keep = (self.keep_days > 0).then(|| day * self.keep_days);
        options.log_messages = self.log_messages;
        Ok(Some(options))
    }
}

/// Tokens come by file: what is on a command line every user of the machine can see.
fn token(argument: &str, file: Option<&Path>) -> Result<Option<Token>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| IntentError::io(file.display(), error))?;
    Token::new(argument, text.trim()).map(Some)
}

fn default_file() -> Result<PathBuf> {
    let platform = etcetera::base_strategy::choose_native_strategy()
        .map_err(|error| IntentError::argument("inbox", format!("there is no data folder: {error}")))?;
    Ok(platform.data_dir().join("relayops-intent").join("inbox.sqlite3"))
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
