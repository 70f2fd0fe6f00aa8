//! `label serve` from outside: over HTTP as a browser without script would, under attack, killed under load, and in a real browser.

#[path = "serve/attack.rs"]
mod attack;
#[path = "serve/browser.rs"]
mod browser;
#[path = "serve/client.rs"]
mod client;
#[path = "serve/kill.rs"]
mod kill;
#[path = "serve/round.rs"]
mod round;
#[path = "serve/webdriver.rs"]
mod webdriver;
