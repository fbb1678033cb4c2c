//! A night as a picture: level and speech, the breathing's period, how well it keeps its pace, evidence and state.
//!
//! For a person who wants to see why. It draws what it is given and decides nothing.

use anyhow::Result;
use lull::sleep::State;
use plotters::prelude::*;
use std::ops::Range;

/// What is drawn of one instant.
pub(crate) struct Point {
    pub(crate) minutes: f64,
    /// The loudest and the quietest tenth of a second since the last point.
    pub(crate) level_db: (f64, f64),
    pub(crate) period_s: Option<f64>,
    /// How well the period is kept, now and while she was known to be awake.
    pub(crate) pace: f64,
    pub(crate) pace_awake: f64,
    pub(crate) evidence: f64,
    /// She spoke since the last point.
    pub(crate) spoke: bool,
    pub(crate) state: State,
}

/// Width and height.
const SIZE: (u32, u32) = (1200, 900);
/// A period is drawn where it is kept at least as well as this; below it is chance.
const CHANCE: f64 = 0.15;

const INK: RGBColor = RGBColor(40, 44, 52);
const LEVEL: RGBColor = RGBColor(96, 125, 139);
const BREATH: RGBColor = RGBColor(0, 121, 107);
const BASELINE: RGBColor = RGBColor(230, 145, 56);
const EVIDENCE: RGBColor = RGBColor(63, 81, 181);
const SPEECH: RGBColor = RGBColor(198, 40, 40);

/// The picture.
pub(crate) fn svg(points: &[Point]) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let end = points.last().map_or(1.0, |last| last.minutes).max(0.1);
        let panels = area.split_evenly((4, 1));
        let [level, period, pace, evidence] = &panels[..] else { unreachable!("four rows and one column") };

        let mut chart = panel(level, "level (dB of full scale), speech in red", end, -100.0..0.0)?;
        chart.draw_series(points.iter().map(|point| {
            let (loudest, quietest) = point.level_db;
            PathElement::new(vec![(point.minutes, quietest.max(-100.0)), (point.minutes, loudest.max(-100.0))], LEVEL.stroke_width(2))
        }))?;
        let words = points.iter().filter(|point| point.spoke);
        chart.draw_series(words.map(|point| Rectangle::new([(point.minutes, -8.0), (point.minutes + 0.08, -1.0)], SPEECH.filled())))?;

        let mut chart = panel(period, "breathing: period (s)", end, 2.0..8.0)?;
        let found = points.iter().filter(|point| point.pace >= CHANCE);
        chart
            .draw_series(found.filter_map(|point| point.period_s.map(|period| Circle::new((point.minutes, period), 2, BREATH.filled()))))?;

        let mut chart = panel(pace, "how well it keeps its pace; orange: while she was known to be awake", end, 0.0..1.0)?;
        chart.draw_series(line(points, BREATH, |point| point.pace))?;
        chart.draw_series(line(points, BASELINE, |point| point.pace_awake))?;

        let title = "evidence (asleep at 1) and state: grey awake, light drowsy, dark asleep, pink unknown; by the minute";
        let mut chart = panel(evidence, title, end, 0.0..1.3)?;
        chart.draw_series(points.windows(2).map(|pair| {
            let colour = match pair[0].state {
                State::Awake => RGBColor(238, 238, 238),
                State::Drowsy => RGBColor(197, 202, 233),
                State::Asleep => RGBColor(121, 134, 203),
                State::Unknown => RGBColor(248, 205, 218),
            };
            Rectangle::new([(pair[0].minutes, 0.0), (pair[1].minutes, 1.3)], colour.filled())
        }))?;
        chart.draw_series(line(points, EVIDENCE, |point| point.evidence))?;
        area.present()?;
    }
    Ok(text)
}

type Panel<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>>;

fn panel<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
    title: &str,
    end: f64,
    values: Range<f64>,
) -> Result<Panel<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, ("sans-serif", 16, &INK))
        .x_label_area_size(24)
        .y_label_area_size(46)
        .build_cartesian_2d(0.0..end, values)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_labels(12).y_labels(6).label_style(("sans-serif", 12, &INK)).draw()?;
    Ok(chart)
}

fn line<'a>(points: &'a [Point], colour: RGBColor, value: impl Fn(&Point) -> f64 + 'a) -> LineSeries<SVGBackend<'static>, (f64, f64)> {
    LineSeries::new(points.iter().map(|point| (point.minutes, value(point))).collect::<Vec<_>>(), colour.stroke_width(2))
}
