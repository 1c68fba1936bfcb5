using System.Text;

namespace AttentionDistillation.Runtime;

/// <summary>Writes files that appear under their name only when complete, so that a reader never meets half of one.</summary>
public static class AtomicFile
{
    /// <summary>What ends the name of a file that is being written.</summary>
    public const string PartialSuffix = ".partial";

    /// <summary>Writes to a temporary file beside the target, flushes it to the disk, and renames it. A failure leaves the target as it was.</summary>
    /// <param name="path">The target; its folder is created if need be.</param>
    /// <param name="write">Writes the content and leaves the stream open.</param>
    /// <param name="soleWriter">
    /// True where nobody else writes this file at the same time: the temporary name is then always the target's with
    /// <see cref="PartialSuffix"/>, so what a killed process left is written over and does not pile up. False gives each writer a name of its own.
    /// </param>
    /// <exception cref="ArgumentException">The path is empty.</exception>
    /// <exception cref="IOException">The disk refuses.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void Write(string path, Action<Stream> write, bool soleWriter = false)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(write);
        string full = Path.GetFullPath(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        string temporary = soleWriter ? full + PartialSuffix : $"{full}.{Guid.NewGuid():N}{PartialSuffix}";
        // Opened outside the block that cleans up: a file that another process holds open is not ours to remove.
        var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None);
        try
        {
            using (stream)
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, full, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes text as UTF-8 without a byte-order mark, whole or not at all.</summary>
    /// <param name="path">The target; its folder is created if need be.</param>
    /// <param name="text">The content.</param>
    /// <exception cref="ArgumentException">The path is empty.</exception>
    /// <exception cref="IOException">The disk refuses.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void WriteText(string path, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        byte[] bytes = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false).GetBytes(text);
        Write(path, stream => stream.Write(bytes));
    }
}
