//! Shows progress on stderr: live lines on a terminal, plain lines elsewhere, nothing with `-q`.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clusterctl_proto::wire::control::OperationUpdate;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;
use crate::output::paint::{self, Meaning, paint};
use crate::output::{self};
use crate::progress::{Change, StepKey, Tracker};

/// Without a terminal a step that talks is quoted this often; with `-v` always.
const QUOTE_EVERY: Duration = Duration::from_secs(10);
const REDRAW_HZ: u8 = 10;

/// Where progress goes.
pub struct Show {
    tracker: Tracker,
    screen: Screen,
    colour: bool,
}

enum Screen {
    Nothing,
    Lines {
        all: bool,
        quoted: HashMap<StepKey, Instant>,
    },
    Terminal {
        screen: MultiProgress,
        bars: HashMap<StepKey, ProgressBar>,
        style: ProgressStyle,
    },
}

impl Show {
    /// Chooses by options and by what stderr is.
    pub fn new(context: &Context) -> Self {
        let screen = if context.global.quiet {
            Screen::Nothing
        } else if std::io::stderr().is_terminal() && !paint::dumb_terminal() {
            // The template is ours: should it not parse, the default style does as well.
            let style = ProgressStyle::with_template("    {spinner} {elapsed:>4} {prefix}  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            Screen::Terminal {
                screen: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAW_HZ)),
                bars: HashMap::new(),
                style,
            }
        } else {
            Screen::Lines {
                all: context.global.verbose,
                quoted: HashMap::new(),
            }
        };
        Self {
            tracker: Tracker::default(),
            screen,
            colour: context.colour_err,
        }
    }

    /// Shows what is new.
    pub fn update(&mut self, update: &OperationUpdate) {
        for change in self.tracker.take(update) {
            self.change(change);
        }
    }

    /// What the operation was seen doing last.
    pub fn doing(&self) -> Vec<String> {
        self.tracker.doing()
    }

    /// A remark of ctl itself.
    pub fn remark(&mut self, text: &str) {
        self.line(&format!("    {text}"));
    }

    /// Takes live lines off the screen: what follows is ordinary output.
    pub fn finish(&mut self) {
        if let Screen::Terminal { bars, screen, .. } = &mut self.screen {
            for (_, bar) in bars.drain() {
                bar.finish_and_clear();
            }
            let _ = screen.clear();
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Note(text) => self.remark(&paint::clean(&text)),
            Change::Ended(key, line) => {
                if let Screen::Terminal { bars, screen, .. } = &mut self.screen
                    && let Some(bar) = bars.remove(&key)
                {
                    bar.finish_and_clear();
                    screen.remove(&bar);
                }
                let arrow = paint(self.colour, Meaning::Strong, "==>");
                let bad = line.contains(": failed");
                let line = paint(self.colour && bad, Meaning::Bad, &one_line(&line));
                self.line(&format!("{arrow} {line}"));
            }
            Change::Started(key, line) => match &mut self.screen {
                Screen::Terminal { bars, screen, style } => {
                    let bar = screen.add(
                        ProgressBar::new_spinner()
                            .with_style(style.clone())
                            .with_prefix(one_line(&line)),
                    );
                    bar.enable_steady_tick(Duration::from_millis(150));
                    bars.insert(key, bar);
                }
                Screen::Lines { quoted, .. } => {
                    quoted.insert(key, Instant::now());
                }
                Screen::Nothing => {}
            },
            Change::Text(key, step, text) => match &mut self.screen {
                Screen::Terminal { bars, .. } => {
                    if let Some(bar) = bars.get(&key) {
                        bar.set_message(one_line(&text));
                    }
                }
                Screen::Lines { all, quoted } => {
                    let last = quoted.entry(key).or_insert_with(Instant::now);
                    if *all || last.elapsed() >= QUOTE_EVERY {
                        *last = Instant::now();
                        output::note(&format!("    {step}: {}", one_line(&text)));
                    }
                }
                Screen::Nothing => {}
            },
        }
    }

    fn line(&self, text: &str) {
        match &self.screen {
            Screen::Nothing => {}
            Screen::Lines { .. } => output::note(text),
            Screen::Terminal { screen, .. } => {
                // Only fails where stderr is gone.
                let _ = screen.println(text);
            }
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.finish();
    }
}

fn one_line(text: &str) -> String {
    paint::clean(text)
        .split('\n')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}
