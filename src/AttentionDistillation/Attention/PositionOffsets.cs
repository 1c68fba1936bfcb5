using AttentionDistillation.Tensors;

namespace AttentionDistillation.Attention;

/// <summary>Which learned bias a pair of places in a grid shares with others: tables of numbers over row-by-row pairs.</summary>
public static class PositionOffsets
{
    /// <summary>
    /// One bias for every distinct (|dy|, |dx|), numbered in order of first sight (Wu et al., "TinyViT", 2022, section 4; Graham et al., "LeViT", 2021,
    /// section 4.3).
    /// </summary>
    /// <param name="grid">Height and width; there are N = height x width places.</param>
    /// <returns>The numbers, row by row of the N x N pairs, and how many there are.</returns>
    public static (long[] Index, int Count) Absolute(ImageSize grid)
    {
        var numbers = new Dictionary<(long, long), int>();
        long[] index = Pairs(
            grid,
            (query, key) =>
            {
                var offset = (Math.Abs(query.Row - key.Row), Math.Abs(query.Column - key.Column));
                if (!numbers.TryGetValue(offset, out int number))
                    numbers[offset] = number = numbers.Count;
                return number;
            }
        );
        return (index, numbers.Count);
    }

    /// <summary>
    /// One bias for every signed (dy, dx), numbered (dy + height - 1) (2 width - 1) + dx + width - 1 (Liu et al., "Swin Transformer", 2021,
    /// equation 4).
    /// </summary>
    /// <param name="grid">Height and width; there are N = height x width places.</param>
    /// <returns>The numbers, row by row of the N x N pairs, and how many there are.</returns>
    public static (long[] Index, int Count) Signed(ImageSize grid)
    {
        long across = 2 * grid.Width - 1;
        long[] index = Pairs(
            grid,
            (query, key) => (query.Row - key.Row + grid.Height - 1) * across + query.Column - key.Column + grid.Width - 1
        );
        return (index, (int)((2 * grid.Height - 1) * across));
    }

    private static long[] Pairs(ImageSize grid, Func<(long Row, long Column), (long Row, long Column), long> number)
    {
        if (grid.Height < 1 || grid.Width < 1)
            throw new ArgumentException($"A grid has at least one place, but is {grid}.", nameof(grid));
        long places = grid.Area;
        var index = new long[places * places];
        for (long query = 0; query < places; query++)
        for (long key = 0; key < places; key++)
            index[query * places + key] = number((query / grid.Width, query % grid.Width), (key / grid.Width, key % grid.Width));
        return index;
    }
}

/// <summary>What a learned bias on attention scores depends on.</summary>
public enum PositionBias
{
    /// <summary>There is none.</summary>
    None,

    /// <summary>The distances (|dy|, |dx|), as in TinyViT and LeViT.</summary>
    Absolute,

    /// <summary>The signed offset (dy, dx), as in Swin.</summary>
    Signed,
}
