//! The conformance suite for `mock`.
#![allow(missing_docs)]

use std::time::Duration;

use handfast_core::{Definition, ErrorKind, Table, Value};
use handfast_testkit::{Answer, Cannot, Fixture, canary, table, text};

struct Store {
    values: Vec<(String, String)>,
    latency: Option<Duration>,
    fail: Option<&'static str>,
    fail_first: Option<u32>,
    neighbour: String,
}

impl Fixture for Store {
    const DEFINITION: &'static Definition = &handfast_mock::DEFINITION;

    fn new() -> Self {
        Self { values: Vec::new(), latency: None, fail: None, fail_first: None, neighbour: canary() }
    }

    fn settings(&self) -> Table {
        let mut values = table([("neighbour-of-all", text(&self.neighbour))]);
        for (name, value) in &self.values {
            values.merge(table([(name, text(value))]));
        }
        let mut settings = table([("values", Value::Table(values))]);
        if let Some(latency) = self.latency {
            settings.merge(table([("latency", text(&format!("{}ms", latency.as_millis())))]));
        }
        if let Some(kind) = self.fail {
            settings.merge(table([("fail", text(kind))]));
        }
        if let Some(count) = self.fail_first {
            settings.merge(table([("fail_first", Value::Integer(count.into()))]));
        }
        settings
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Answer {
        let value = str::from_utf8(value).map_err(|_| Cannot("its values are TOML strings, which are UTF-8"))?;
        self.values.push((name.to_owned(), value.to_owned()));
        Ok(format!("mock:{name}"))
    }

    fn missing(&mut self) -> Answer {
        Ok("mock:missing".into())
    }

    fn denied(&mut self) -> Answer {
        self.fail = Some("denied");
        self.put("denied", b"denied")
    }

    fn unavailable(&mut self, attempts: u32) -> Answer {
        self.fail_first = Some(attempts);
        self.put("unavailable", b"there at last")
    }

    fn slow(&mut self, delay: Duration) -> Answer {
        self.latency = Some(delay);
        self.put("slow", b"slow")
    }

    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot> {
        Err(Cannot("it takes any name"))
    }

    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        self.fail = Some("untrusted");
        vec![("mock:any".into(), ErrorKind::Untrusted)]
    }

    fn canaries(&self) -> Vec<String> {
        vec![self.neighbour.clone()]
    }
}

handfast_testkit::conformance!(Store);
