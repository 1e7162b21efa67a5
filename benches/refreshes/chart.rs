//! The load curves as SVG: one panel for each server, one logarithmic scale for all, the highest rate of every minute.

use std::fmt::Write;

use super::world::{Outcome, SECONDS};

const WIDTH: f64 = 720.0;
const PANEL: f64 = 110.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 34.0;
const GAP: f64 = 34.0;
/// Seconds a point stands for.
const POINT: usize = 60;

/// The picture.
pub(crate) fn draw(clients: usize, shown: &[(String, &Outcome)]) -> String {
    let height = TOP + shown.len() as f64 * (PANEL + GAP) + 16.0;
    let most = shown.iter().flat_map(|(_, outcome)| outcome.mints.iter().copied()).max().unwrap_or(1);
    let decades = f64::from(most).log10().ceil().max(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\" \
         font-size=\"13\">Mints per second, {clients} clients started together (the highest of every minute; \
         logarithmic)</text>\n",
        WIDTH + LEFT + 16.0
    );
    for (n, (name, outcome)) in shown.iter().enumerate() {
        let top = TOP + n as f64 * (PANEL + GAP) + 14.0;
        panel(&mut svg, top, decades, name, outcome);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, top: f64, decades: f64, name: &str, outcome: &Outcome) {
    let y = |rate: f64| top + PANEL - (rate.max(1.0).log10() / decades) * PANEL;
    let x = |second: usize| LEFT + second as f64 / SECONDS as f64 * WIDTH;
    let bottom = top + PANEL;
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\">{name}: peak {:.0}/s over five seconds, after the start</text>",
        top - 5.0,
        outcome.peak(5)
    );
    let mut decade = 0.0;
    while decade <= decades {
        let rate = 10_f64.powf(decade);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" \
             fill=\"#666\">{rate:.0}</text>",
            y(rate),
            LEFT + WIDTH,
            LEFT - 4.0,
            y(rate) + 4.0
        );
        decade += 1.0;
    }
    for hour in 0..=SECONDS / 3600 {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{hour} h</text>",
            x(hour * 3600),
            bottom + 13.0
        );
    }
    let mut path = format!("M{LEFT} {bottom:.1}");
    for (n, seconds) in outcome.mints.chunks(POINT).enumerate() {
        let most = seconds.iter().copied().max().unwrap_or(0);
        let at = if most == 0 { bottom } else { y(f64::from(most)) };
        let _ = write!(path, "L{:.1} {at:.1}", x(n * POINT));
    }
    let _ = writeln!(svg, "<path d=\"{path}V{bottom:.1}Z\" fill=\"#3b6ea5\" fill-opacity=\".75\"/>");
}
