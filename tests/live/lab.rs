//! The lab itself: do its hosts behave like bare metal?
