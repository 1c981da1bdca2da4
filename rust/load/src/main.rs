//! `openloop`: sends the requests of a file at a fixed rate and prints one line of JSON.
#![forbid(unsafe_code)]
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;
use std::str::FromStr;

use ocn_load::openloop::{Plan, run};
use ocn_load::requests;

const USAGE: &str = "openloop --port N --file REQUESTS --hole TEXT --token TEXT --rate N --seconds N \
    [--first N] [--connections N]";

fn main() -> ExitCode {
    match told() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\nusage: {USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn told() -> Result<String, Box<dyn Error>> {
    let mut given = Given::of(env::args().skip(1))?;
    let plan = Plan::new(
        given.one("rate")?,
        given.one("seconds")?,
        given.perhaps("connections")?.unwrap_or(128),
    );
    let port = given.one("port")?;
    let first = given.perhaps("first")?.unwrap_or(0);
    let (hole, token): (String, String) = (given.one("hole")?, given.one("token")?);
    let file = BufReader::new(File::open(given.one::<String>("file")?)?);
    given.nothing_else()?;
    let requests = requests::read(file, first, plan.messages(), &hole, &token)?;
    let outcome = run(port, &requests, &plan)?;
    Ok(serde_json::to_string(&outcome.figures())?)
}

/// `--name value`, again and again.
struct Given(HashMap<String, String>);

impl Given {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut given = HashMap::new();
        while let Some(name) = arguments.next() {
            let key = name
                .strip_prefix("--")
                .ok_or(format!("not known: {name}"))?;
            let value = arguments
                .next()
                .ok_or(format!("{name}: its value is missing"))?;
            given.insert(key.to_owned(), value);
        }
        Ok(Self(given))
    }

    fn perhaps<T: FromStr<Err: Error>>(&mut self, name: &str) -> Result<Option<T>, String> {
        let parsed = |value: String| value.parse().map_err(|error| format!("--{name}: {error}"));
        self.0.remove(name).map(parsed).transpose()
    }

    fn one<T: FromStr<Err: Error>>(&mut self, name: &str) -> Result<T, String> {
        self.perhaps(name)?.ok_or(format!("--{name} is missing"))
    }

    fn nothing_else(&self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("not known: --{name}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Given;

    fn given(text: &str) -> Result<Given, String> {
        Given::of(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_was_given_is_parsed_and_what_is_left_over_is_told() {
        let mut given = given("--rate 2300.0 --port 80 --more x").unwrap();
        assert_eq!(given.one("rate"), Ok(2_300.0));
        assert_eq!(given.one("port"), Ok(80_u16));
        assert_eq!(given.perhaps::<usize>("first"), Ok(None));
        assert_eq!(given.nothing_else(), Err("not known: --more".into()));
    }

    #[test]
    fn what_is_wrong_or_missing_is_told_by_its_name() {
        let wrong = given("--rate fast")
            .unwrap()
            .one::<f64>("rate")
            .unwrap_err();
        assert!(wrong.starts_with("--rate: "), "{wrong}");
        assert!(given("--rate").is_err());
        assert!(given("rate 1").is_err());
        let missing = given("").unwrap().one::<f64>("rate").unwrap_err();
        assert_eq!(missing, "--rate is missing");
    }
}
