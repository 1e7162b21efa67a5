//! `stint lease forecast`: how many leases the next hour is expected to ask for, a bar for every five minutes.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::audit::instant;
use crate::audit::question::Given;
use crate::command::archive::at_the_console;
use crate::command::audit::user;
use crate::command::{Failure, count, load};
use crate::inquiry::{LeaseAnswer, LeaseForecast, LeaseKind, Reader};

/// How it is shown.
#[derive(Debug, Args)]
pub struct ForecastOptions {
    /// Answer in JSON: the document of the API.
    #[arg(long)]
    json: bool,
    /// The configuration file.
    #[arg(long, default_value = "stint.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Characters of the longest bar.
const WIDTH: f64 = 40.0;

/// `stint lease forecast`
pub fn forecast(options: &ForecastOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let config = load(&options.config)?;
    let answer = at_the_console(&config, async |archive, request_id| {
        archive.leases(&Reader::at_the_console(user(), request_id), LeaseKind::Forecast, Given::new([])).await
    })?;
    match answer {
        answer if options.json => Ok(writeln!(out, "{:#}", serde_json::to_value(&answer).unwrap_or_default())?),
        LeaseAnswer::Forecast(forecast) => show(&forecast, out),
        LeaseAnswer::Leases(_) | LeaseAnswer::Lease(_) => Ok(()),
    }
}

fn show(forecast: &LeaseForecast, out: &mut dyn Write) -> Result<(), Failure> {
    let open = usize::try_from(forecast.open_leases).unwrap_or(usize::MAX);
    writeln!(out, "{} open at {}", count(open, "lease"), instant::format(forecast.at))?;
    let fives: Vec<(&[_], f64)> = forecast
        .minutes
        .chunks(5)
        .map(|minutes| (minutes, minutes.iter().map(|minute| minute.expected).sum()))
        .collect();
    let most = fives.iter().map(|(_, expected)| *expected).fold(f64::MIN_POSITIVE, f64::max);
    writeln!(out, "from       expected")?;
    for (minutes, expected) in fives {
        let from = minutes.first().map(|minute| instant::format(minute.from)).unwrap_or_default();
        let time = from.get(11..19).unwrap_or_default();
        writeln!(out, "{time}  {expected:>9.1}  {}", bar(expected / most))?;
    }
    let LeaseForecast { expected, peak_per_second, peak_at, cap_per_second, .. } = forecast;
    writeln!(
        out,
        "within 5 min {:.1}, 15 min {:.1}, 60 min {:.1}; at most {peak_per_second} a second, from {}",
        expected.minutes_5,
        expected.minutes_15,
        expected.minutes_60,
        instant::format(*peak_at)
    )?;
    if let Some(cap) = cap_per_second {
        writeln!(out, "lease.mints_per_second = {cap}")?;
    }
    Ok(())
}

fn bar(share: f64) -> String {
    let mut length = 0.0;
    std::iter::from_fn(|| {
        length += 1.0;
        (length <= (share * WIDTH).round()).then_some('#')
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!((bar(0.0).len(), bar(0.5).len(), bar(1.0).len()), (0, 20, 40));
        assert_eq!(bar(f64::NAN), "");
    }
}
