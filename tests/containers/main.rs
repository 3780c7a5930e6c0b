//! handfast in containers, on a real engine: in its own image, in the images of apps, and in front of them.
//!
//! Images are made from scratch with the programs of this machine, so that the tests need no registry.

#[path = "../support/mod.rs"]
mod support;

#[path = "../documentation/pages.rs"]
mod markdown;

mod cell;
mod container;
mod dockerfile;
mod ends;
mod entrypoint;
mod examples;
mod images;
mod installed;
mod kubernetes;
mod machine;
mod matrix;
mod memory;
mod pages;
mod pod;
mod programs;
mod readme;
mod shell;
mod shown;
mod spring;
mod stores;
mod traces;
