//! What every command needs: the global options and what follows from them.

use crate::cli::{Format, Global};
use crate::config;
use crate::connect::Client;
use crate::output::paint;
use clusterctl_proto::failure::Failure;

/// Made once in `main`, read by every command.
pub struct Context {
    /// Options as given.
    pub global: Global,
    /// stdout is a terminal that takes colours.
    pub colour_out: bool,
    /// stderr is a terminal that takes colours.
    pub colour_err: bool,
}

impl Context {
    /// Looks at the terminals once.
    pub fn new(global: Global) -> Self {
        let colour_out = paint::wanted(&std::io::stdout(), global.no_color);
        let colour_err = paint::wanted(&std::io::stderr(), global.no_color);
        Self {
            global,
            colour_out,
            colour_err,
        }
    }

    /// `-o json`.
    pub fn json(&self) -> bool {
        self.global.output == Format::Json
    }

    /// `-o wide`.
    pub fn wide(&self) -> bool {
        self.global.output == Format::Wide
    }

    /// A remark for a person on stderr; not with `-q`, and not where stderr is read by a script.
    pub fn remark(&self, text: &str) {
        if !self.global.quiet && !self.json() {
            crate::output::note(text);
        }
    }

    /// Connects to the coordinator that the configuration names.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let settings = config::load(&self.global)?;
        Client::connect(&settings, self.global.timeout).await
    }
}
