pub mod alpha; pub mod interval; pub mod kendall; pub mod model; pub mod pairs; pub mod panel;
