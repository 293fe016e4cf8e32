//! Charts as SVG: lines with points over two axes, plain enough to be read in a diff.
//!
//! ```text
//! title
//! y label
//!   |  lines, a colour each       legend below
//!   +-----------
//!      x label
//! ```

use std::fmt::Write;

use serde_json::{Value, json};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 50.0;
const PLOT_HEIGHT: f64 = 300.0;
const RIGHT: f64 = 40.0;
const LEGEND_LINE: f64 = 20.0;
/// Distinct in print and for most who see fewer colours.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];
const TICKS: usize = 5;
/// What counts as nothing on an axis of ratios, where 0 has no place.
const LEAST: f64 = 1e-3;

/// How numbers lie along an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scale {
    Linear,
    Logarithmic,
    /// The number of nines of a percentile.
    Nines,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    scale: Scale,
}

impl Axis {
    /// Equal steps, from 0.
    pub fn linear(label: &str) -> Axis {
        Axis::new(label, Scale::Linear)
    }

    /// Equal ratios.
    pub fn logarithmic(label: &str) -> Axis {
        Axis::new(label, Scale::Logarithmic)
    }

    /// 90 %, 99 %, 99.9 %.
    pub fn nines(label: &str) -> Axis {
        Axis::new(label, Scale::Nines)
    }

    fn new(label: &str, scale: Scale) -> Axis {
        Axis {
            label: label.to_owned(),
            scale,
        }
    }

    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Logarithmic => value.max(LEAST).log10(),
            Scale::Linear | Scale::Nines => value,
        }
    }

    /// Where the axis begins and ends, in places, and what is written where.
    fn ticks(&self, values: &[f64]) -> (f64, f64, Vec<(f64, String)>) {
        let places = || values.iter().map(|value| self.place(*value));
        let (least, most) = match values.is_empty() {
            true => (0.0, 1.0),
            false => (
                places().fold(f64::INFINITY, f64::min),
                places().fold(f64::NEG_INFINITY, f64::max),
            ),
        };
        match self.scale {
            Scale::Linear => {
                let step = round_step(most.max(LEAST) / TICKS as f64);
                let count = (most / step).ceil().max(1.0);
                let ticks = (0..=count as usize).map(|index| index as f64 * step);
                (0.0, count * step, ticks.map(|at| (at, short(at))).collect())
            }
            Scale::Logarithmic => {
                let begin = least.floor();
                let end = most.ceil().max(begin + 1.0);
                let ticks = (0..=(end - begin) as usize).map(|index| begin + index as f64);
                (
                    begin,
                    end,
                    ticks.map(|at| (at, short(10_f64.powf(at)))).collect(),
                )
            }
            Scale::Nines => {
                let end = most.ceil().max(1.0);
                let ticks = (0..=end as usize).map(|nines| {
                    let percent = 100.0 - 100.0 * 10_f64.powi(-(nines as i32));
                    (
                        nines as f64,
                        format!("{percent:.*} %", nines.saturating_sub(2)),
                    )
                });
                (0.0, end, ticks.collect())
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 1e9 => format!("{}G", value / 1e9),
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e4 => format!("{}k", value / 1e3),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

impl Chart {
    /// A name for its file, from its title.
    pub fn file(&self) -> String {
        let words: String = self
            .title
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' })
            .collect();
        words.split_whitespace().collect::<Vec<_>>().join("-") + ".svg"
    }

    /// The points of its lines.
    pub fn to_json(&self) -> Value {
        let lines = self.lines.iter();
        json!({
            "title": self.title,
            "x": self.x.label,
            "y": self.y.label,
            "lines": lines.map(|line| json!({ "name": line.name, "points": line.points })).collect::<Vec<_>>(),
        })
    }

    /// The drawing.
    pub fn to_svg(&self) -> String {
        let of = |which: fn(&(f64, f64)) -> f64| -> Vec<f64> {
            let points = self.lines.iter().flat_map(|line| &line.points);
            points.map(which).collect()
        };
        let (x_begin, x_end, x_ticks) = self.x.ticks(&of(|point| point.0));
        let (y_begin, y_end, y_ticks) = self.y.ticks(&of(|point| point.1));
        let width = WIDTH - LEFT - RIGHT;
        let x_at = |place: f64| LEFT + (place - x_begin) / (x_end - x_begin) * width;
        let y_at = |place: f64| TOP + (y_end - place) / (y_end - y_begin) * PLOT_HEIGHT;
        let bottom = TOP + PLOT_HEIGHT;
        let height = bottom + 62.0 + LEGEND_LINE * self.lines.len() as f64;

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        put_text(&mut svg, LEFT, 22.0, "start", 16, &self.title);
        put_text(&mut svg, LEFT, 41.0, "start", 13, &self.y.label);
        for (place, label) in &y_ticks {
            let y = y_at(*place);
            put_rule(&mut svg, (LEFT, y), (WIDTH - RIGHT, y));
            put_text(&mut svg, LEFT - 8.0, y + 4.0, "end", 13, label);
        }
        for (place, label) in &x_ticks {
            let x = x_at(*place);
            put_rule(&mut svg, (x, TOP), (x, bottom));
            put_text(&mut svg, x, bottom + 18.0, "middle", 13, label);
        }
        put_text(
            &mut svg,
            LEFT + width / 2.0,
            bottom + 38.0,
            "middle",
            13,
            &self.x.label,
        );
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let points: Vec<(f64, f64)> = line
                .points
                .iter()
                .map(|(x, y)| (x_at(self.x.place(*x)), y_at(self.y.place(*y))))
                .collect();
            let joined: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            put(
                &mut svg,
                &format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                    joined.join(" ")
                ),
            );
            for (x, y) in points {
                put(
                    &mut svg,
                    &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"),
                );
            }
            let y = bottom + 60.0 + LEGEND_LINE * index as f64;
            put(
                &mut svg,
                &format!(
                    "<rect x=\"{LEFT}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
                    y - 6.0
                ),
            );
            put_text(&mut svg, LEFT + 22.0, y, "start", 13, &line.name);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn put_rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    put(
        svg,
        &format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#d8d8d8\"/>",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn put_text(svg: &mut String, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    put(
        svg,
        &format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"#222222\">{text}</text>"
        ),
    );
}

fn put(svg: &mut String, element: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(svg, "{element}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "Cost & <tables>".to_owned(),
            x: Axis::logarithmic("tables"),
            y: Axis::linear("µs"),
            lines: vec![Line {
                name: "ours".to_owned(),
                points,
            }],
        }
    }

    #[test]
    fn every_point_lies_in_the_plot() {
        let svg = chart(vec![(1.0, 2.0), (1_000.0, 3.7), (10_000.0, 0.1)]).to_svg();
        let circles: Vec<&str> = svg
            .lines()
            .filter(|line| line.contains("<circle"))
            .collect();
        assert_eq!(circles.len(), 3);
        for circle in circles {
            let number = |name: &str| -> f64 {
                let rest = circle.split(name).nth(1).expect("an attribute");
                let text = rest.split('"').nth(1).expect("a value");
                text.parse().expect("a number")
            };
            assert!((LEFT..=WIDTH - RIGHT).contains(&number("cx=")), "{circle}");
            assert!(
                (TOP..=TOP + PLOT_HEIGHT).contains(&number("cy=")),
                "{circle}"
            );
        }
        assert!(svg.contains("Cost &amp; &lt;tables&gt;"));
    }

    #[test]
    fn one_point_and_none_are_charts_too() {
        for points in [vec![], vec![(5.0, 5.0)], vec![(5.0, 0.0)]] {
            let svg = chart(points).to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
