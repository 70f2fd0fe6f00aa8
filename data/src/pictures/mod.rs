//! Pictures: PNG and JPEG files as squares of RGB bytes, as a model reads them, and PNG files of our own.

mod png;
mod resize;

pub use png::write_png;

use crate::error::DataError;
use std::path::Path;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_png::PngDecoder;

/// Largest width and height of a file, in pixels: a small file may claim to be a huge picture.
const LARGEST: usize = 8192;

/// A square picture of 8-bit RGB.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    side: usize,
    /// Row by row from the top, three bytes a pixel.
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({0}×{0})", self.side)
    }
}

impl Picture {
    /// Reads a PNG or JPEG file, whatever its name ends in, and stretches it to `side` × `side` pixels by a triangle filter as wide as the reduction (PIL's
    /// `BILINEAR`), whatever its proportions. Transparency is dropped, grey becomes RGB, 16 bits a channel become 8.
    pub fn open(path: &Path, side: usize) -> Result<Picture, DataError> {
        let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
        Picture::decode(&bytes, side).map_err(|detail| DataError::Picture { path: path.to_path_buf(), detail })
    }

    /// The same of a file's bytes; what is wrong with them in words.
    pub fn decode(bytes: &[u8], side: usize) -> Result<Picture, String> {
        let (width, height, rgb) = match bytes {
            [0x89, b'P', b'N', b'G', ..] => png(bytes).map_err(|e| format!("not a readable PNG: {e}"))?,
            [0xff, 0xd8, 0xff, ..] => jpeg(bytes).map_err(|e| format!("not a readable JPEG: {e}"))?,
            [] => return Err("the file is empty: a PNG or JPEG picture is expected".to_string()),
            _ => return Err(format!("neither PNG nor JPEG: it begins with the bytes {:02x?}", &bytes[..bytes.len().min(4)])),
        };
        Ok(Picture { side, rgb: resize::square(&rgb, width, height, side) })
    }

    /// Of pixels that are there already.
    ///
    /// # Panics
    /// Other than `side` · `side` · 3 bytes.
    pub fn new(side: usize, rgb: Vec<u8>) -> Picture {
        assert_eq!(rgb.len(), side * side * 3, "three bytes a pixel");
        Picture { side, rgb }
    }

    /// Width and height in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Row by row from the top, three bytes a pixel.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// Width, height and RGB bytes.
type Raw = (usize, usize, Vec<u8>);

fn options() -> DecoderOptions {
    DecoderOptions::new_safe().set_max_width(LARGEST).set_max_height(LARGEST).set_strict_mode(true)
}

fn png(bytes: &[u8]) -> Result<Raw, String> {
    let options = options().png_set_strip_to_8bit(true).inflate_set_confirm_adler(true).png_set_confirm_crc(true);
    let mut decoder = PngDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|e| format!("{e:?}"))?.u8().ok_or("more than 8 bits a channel")?;
    let (width, height) = decoder.dimensions().ok_or("no size")?;
    let channels = decoder.colorspace().map_or(0, |space| space.num_components());
    if width * height == 0 || pixels.len() != width * height * channels {
        return Err(format!("{} bytes for {width}×{height} pixels of {channels} channels", pixels.len()));
    }
    let rgb = match channels {
        3 => pixels,
        1 | 2 => pixels.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
        4 => pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        n => return Err(format!("{n} channels")),
    };
    Ok((width, height, rgb))
}

fn jpeg(bytes: &[u8]) -> Result<Raw, String> {
    // The decoder takes a scan for whole that lacks its last bytes.
    if !bytes.windows(2).any(|pair| pair == [0xff, 0xd9]) {
        return Err("it ends before its end marker".to_string());
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options().jpeg_set_out_colorspace(ColorSpace::RGB));
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let (width, height) = decoder.info().map(|info| (usize::from(info.width), usize::from(info.height))).ok_or("no size")?;
    if width * height == 0 || pixels.len() != width * height * 3 {
        return Err(format!("{} bytes for {width}×{height} pixels of RGB", pixels.len()));
    }
    Ok((width, height, pixels))
}
