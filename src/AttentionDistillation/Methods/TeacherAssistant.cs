namespace AttentionDistillation.Methods;

/// <summary>
/// MiniLM's teacher assistant (arXiv 2002.10957, section 3.4; after Mirzadeh et al., arXiv 1902.03393): a model of the teacher's depth and the
/// student's width. The teacher is distilled into it and it into the student, both with the same loss.
/// </summary>
public static class TeacherAssistant
{
    /// <summary>The paper uses an assistant when the student has at most half the teacher's layers and at most half its width.</summary>
    /// <param name="teacherLayers">Layers of the teacher.</param>
    /// <param name="teacherWidth">Hidden width C of the teacher.</param>
    /// <param name="studentLayers">Layers of the student.</param>
    /// <param name="studentWidth">Hidden width C of the student.</param>
    public static bool IsAdvised(int teacherLayers, int teacherWidth, int studentLayers, int studentWidth)
    {
        RequirePositive(teacherLayers, teacherWidth, studentLayers, studentWidth);
        return studentLayers * 2 <= teacherLayers && studentWidth * 2 <= teacherWidth;
    }

    /// <summary>Layers and width of the assistant.</summary>
    public static (int Layers, int Width) Shape(int teacherLayers, int studentWidth)
    {
        RequirePositive(teacherLayers, studentWidth);
        return (teacherLayers, studentWidth);
    }

    private static void RequirePositive(params int[] sizes)
    {
        if (sizes.Any(size => size < 1))
            throw new ArgumentException($"Layers and widths must be at least 1, but are {string.Join(", ", sizes)}.");
    }
}
