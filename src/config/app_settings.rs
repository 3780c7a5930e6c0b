//! The app's user and groups as each file sets them. They are kept apart, because a later file must not hide the settings of an
//! earlier one.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use handfast_core::{Place, Table};

use super::trust::Suspect;

/// The most groups of one file that are looked up. More are a mistake, which is reported when the groups are used.
const MAX_GROUPS: usize = 1024;

/// One file's settings about the app, and who else may have written the file.
pub struct AppSettings {
    /// The file's first line.
    pub place: Place,
    /// `[app] user`.
    pub user: Option<String>,
    /// `[app] groups`, each once.
    pub groups: Option<BTreeSet<String>>,
    /// Who else may change the file.
    pub suspects: Vec<Suspect>,
}

impl AppSettings {
    /// Collects the settings of one file.
    pub fn of(table: &Table, place: Place, suspects: Vec<Suspect>) -> Self {
        let app = table.table("app");
        let user = app.and_then(|app| app.string("user")).map(str::to_owned);
        let groups = app.and_then(|app| app.strings("groups")).map(|groups| {
            let names: BTreeSet<&str> = groups.into_iter().map(|(name, _)| name).collect();
            names.into_iter().take(MAX_GROUPS).map(str::to_owned).collect()
        });
        Self { place, user, groups, suspects }
    }
}
