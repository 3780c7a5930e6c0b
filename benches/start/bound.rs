//! The bounds for the measured values.

/// Prints whether a value is within its bound.
pub fn print(what: &str, found: f64, most: f64, unit: &str) {
    let verdict = if found <= most { "kept" } else { "CROSSED" };
    println!("bound {verdict}: {what}: {found:.2}{unit} of at most {most}{unit}");
}
