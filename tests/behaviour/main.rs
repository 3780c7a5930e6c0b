//! What a user sees of a start, and of the other commands, without any store.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod configuration_bounds;
mod configuration_executable;
mod configuration_mutations;
mod configuration_refusals;
mod configuration_sample;
mod configuration_schema;
mod configuration_sources;
mod configuration_trust;
mod configuration_values;
mod delivery_descriptors;
mod delivery_files;
mod delivery_inherited;
mod delivery_leftovers;
mod delivery_mount;
mod delivery_others;
mod delivery_places;
mod delivery_planted;
mod delivery_rights;
mod delivery_turns;
mod file_or_descriptor;
mod processors;
mod real_programs;
mod references_in_variables;
mod references_to_targets;
mod reports;
mod supervise_canaries;
mod supervise_floods;
mod supervise_fresh;
mod supervise_processes;
mod supervise_programs;
mod supervise_restart;
mod supervise_rights;
mod supervise_signals;
mod supervise_terminal;
mod supervised;
mod thin_line;
mod watch;
mod watch_files;
mod watch_idle;
mod watch_ready;
mod watch_rights;
mod watch_storms;
