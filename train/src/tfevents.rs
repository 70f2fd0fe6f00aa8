//! Records of a TensorBoard event file: `tensorflow.Event` messages (protocol buffers) in TFRecord frames.
//!
//! Frame: length (u64), its masked CRC, message, its masked CRC; all little-endian. The CRC is Castagnoli's (RFC 3720, appendix B.4), masked as
//! TensorFlow's `lib/core/crc32c.h` does. Field numbers: TensorFlow's `event.proto`, `summary.proto`, `tensor.proto`.

/// A figure of a summary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Figure {
    /// A point of a curve. TensorBoard keeps single precision.
    Scalar(f32),
    /// A text, shown in the Text tab.
    Text(String),
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// First record of a file: the format's version.
    Version,
    /// What readers know from this step on is void: it comes again.
    Restart,
    /// Figures by tag.
    Summary(Vec<(String, Figure)>),
}

/// An event as a framed record. `wall_time` is in seconds since 1970.
pub(crate) fn record(wall_time: f64, step: u64, what: &What) -> Vec<u8> {
    let mut event = Message::default();
    event.fixed64(1, wall_time.to_bits());
    if step > 0 {
        event.varint(2, step);
    }
    match what {
        What::Version => event.bytes(3, b"brain.Event:2"),
        What::Summary(values) => {
            let mut summary = Message::default();
            values.iter().for_each(|(tag, figure)| summary.bytes(1, &value(tag, figure).0));
            event.bytes(5, &summary.0);
        }
        What::Restart => {
            let mut session = Message::default();
            session.varint(1, 1); // SessionStatus START
            event.bytes(7, &session.0);
        }
    }
    frame(&event.0)
}

/// A `Summary.Value`.
fn value(tag: &str, figure: &Figure) -> Message {
    let mut value = Message::default();
    value.bytes(1, tag.as_bytes());
    match figure {
        Figure::Scalar(x) => value.fixed32(2, x.to_bits()),
        Figure::Text(text) => {
            let mut tensor = Message::default();
            tensor.varint(1, 7); // DT_STRING
            tensor.bytes(2, &[]); // shape of a scalar
            tensor.bytes(8, text.as_bytes());
            value.bytes(8, &tensor.0);
            let (mut plugin, mut metadata) = (Message::default(), Message::default());
            plugin.bytes(1, b"text");
            metadata.bytes(1, &plugin.0);
            metadata.varint(4, 2); // DATA_CLASS_TENSOR
            value.bytes(9, &metadata.0);
        }
    }
    value
}

/// A protocol buffer being put together: each field is its number and wire type, then its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, wire: u64) {
        self.raw_varint(field << 3 | wire);
    }

    /// Seven bits a byte, lowest first; the top bit says that more follow.
    fn raw_varint(&mut self, mut x: u64) {
        while x >= 0x80 {
            self.0.push(x as u8 | 0x80);
            x >>= 7;
        }
        self.0.push(x as u8);
    }

    fn varint(&mut self, field: u64, x: u64) {
        self.key(field, 0);
        self.raw_varint(x);
    }

    fn fixed64(&mut self, field: u64, bits: u64) {
        self.key(field, 1);
        self.0.extend(bits.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, bits: u32) {
        self.key(field, 5);
        self.0.extend(bits.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(message.len() + 16);
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked_crc(message).to_le_bytes());
    out
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }; // Castagnoli's polynomial, lowest bit first
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &b| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ b)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of RFC 3720, appendix B.4.
    #[test]
    fn crc_of_the_rfc() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    /// The file that TensorBoard's own writer made of the same events (scripts/reference/tfevents.py).
    #[test]
    fn bytes_of_the_real_writer() {
        let scalar = |tag: &str, x: f32| (tag.to_owned(), Figure::Scalar(x));
        let ours = [
            record(1.5, 0, &What::Version),
            record(2.25, 0, &What::Restart),
            record(3.0, 300, &What::Summary(vec![scalar("loss", 0.1), scalar("eval/loss", 0.0)])),
            record(4.0, 1 << 40, &What::Summary(vec![("eval/sample".into(), Figure::Text(format!("Grüße, {}", "x".repeat(200))))])),
            record(5.0, 7, &What::Restart),
        ];
        let golden = include_bytes!("../tests/golden/tensorboard.tfevents");
        assert_eq!(ours.concat(), golden);
    }
}
