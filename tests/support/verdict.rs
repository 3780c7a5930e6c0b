//! The required outcome of a start.

use serde_json::Value;

use super::Outcome;

impl Outcome {
    /// handfast ended by itself: with this code, a last line that has this text, and no app.
    #[track_caller]
    pub fn refused(&self, code: i32, text: &str) {
        self.foreseen(code, text);
        assert!(!self.app_ran(), "{self:?}");
    }

    /// What `check` says of such a start: its code and its last line, after the plan.
    #[track_caller]
    pub fn foreseen(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.last_line().contains(text), "no `{text}` in the last line: {self:?}");
    }

    /// The app was started, and ended well; what the probe saw.
    #[track_caller]
    pub fn ran(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.probe()
    }

    /// Standard error has this text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no `{text}`: {self:?}");
        self
    }

    /// Standard error does not have this text.
    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Self {
        assert!(!self.stderr.contains(text), "`{text}`: {self:?}");
        self
    }

    /// The line of standard error that says it all.
    pub fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}
