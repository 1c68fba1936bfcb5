using System.Runtime.InteropServices;
using SkiaSharp;

namespace AttentionDistillation.Worlds.Images;

/// <summary>Reads one image file into a scaled square.</summary>
/// <remarks>
/// As torchvision reads images: three channels (grey is repeated, transparency ignored), turned nowhere (an orientation in the file's EXIF data is not followed),
/// resized by <see cref="BilinearResize"/>, and the middle cut out.
/// </remarks>
internal sealed class ImageDecoder(int size, ClassFolderOptions options)
{
    /// <summary>Reads a file.</summary>
    /// <param name="path">JPEG, PNG, WebP, BMP or GIF, told by its content.</param>
    /// <returns>[3, S, S], red, green and blue, scaled.</returns>
    /// <exception cref="FileNotFoundException">The file is gone.</exception>
    /// <exception cref="InvalidDataException">The file is no image, or is damaged; the message names it.</exception>
    internal float[] Read(string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException(
                $"The image '{path}' was there when its folder was read and is gone. Put it back, or read the folder again.",
                path
            );
        var (pixels, width, height) = Decode(path);
        // The shorter side, and the longer one rounded down, as torchvision has them.
        int shorter = Math.Max(size, (int)Math.Round(size * options.ResizeRatio));
        if (Math.Min(width, height) == size)
            shorter = size;
        int longer = (int)((long)shorter * Math.Max(width, height) / Math.Min(width, height));
        var (newWidth, newHeight) = width <= height ? (shorter, longer) : (longer, shorter);
        pixels = BilinearResize.Apply(pixels, width, height, newWidth, newHeight);
        int left = (int)Math.Round((newWidth - size) / 2.0),
            top = (int)Math.Round((newHeight - size) / 2.0);
        float[] result = new float[3 * size * size];
        for (int channel = 0; channel < 3; channel++)
        {
            float mean = (float)options.Mean[channel],
                deviation = (float)options.Deviation[channel];
            for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++)
                result[(channel * size + y) * size + x] =
                    (pixels[((top + y) * newWidth + left + x) * 3 + channel] / 255f - mean) / deviation;
        }
        return result;
    }

    private static (byte[] Pixels, int Width, int Height) Decode(string path)
    {
        using var data = SKData.Create(path);
        using var codec = data is null ? null : SKCodec.Create(data);
        if (codec is null)
            throw new InvalidDataException(
                $"'{path}' is no image in JPEG, PNG, WebP, BMP or GIF. Get the file again, or take it out of the folder."
            );
        var (width, height) = (codec.Info.Width, codec.Info.Height);
        using var bitmap = new SKBitmap(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        var outcome = codec.GetPixels(bitmap.Info, bitmap.GetPixels());
        if (outcome != SKCodecResult.Success)
            throw new InvalidDataException(
                $"The image '{path}' is damaged or cut short ({outcome}). Get the file again, or take it out of the folder."
            );
        byte[] rows = new byte[bitmap.RowBytes * height];
        Marshal.Copy(bitmap.GetPixels(), rows, 0, rows.Length);
        byte[] pixels = new byte[width * height * 3];
        for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            rows.AsSpan(y * bitmap.RowBytes + x * 4, 3).CopyTo(pixels.AsSpan((y * width + x) * 3));
        return (pixels, width, height);
    }
}
