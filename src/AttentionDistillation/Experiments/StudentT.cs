namespace AttentionDistillation.Experiments;

/// <summary>Student's t distribution with a whole number of degrees of freedom.</summary>
public static class StudentT
{
    // Halving [0, pi/2] this often reaches the spacing of doubles.
    private const int Halvings = 64;

    /// <summary>P(|T| &lt; t), by the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4.</summary>
    /// <param name="t">Not negative.</param>
    /// <param name="degreesOfFreedom">At least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is out of range.</exception>
    public static double Within(double t, int degreesOfFreedom)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(t);
        ArgumentOutOfRangeException.ThrowIfLessThan(degreesOfFreedom, 1);
        return WithinAngle(Math.Atan(t / Math.Sqrt(degreesOfFreedom)), degreesOfFreedom);
    }

    /// <summary>The t with P(|T| &lt; t) = <paramref name="confidence"/>, for example 4.303 at 0.95 and 2 degrees of freedom.</summary>
    /// <param name="confidence">Between 0 and 1, both excluded.</param>
    /// <param name="degreesOfFreedom">At least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is out of range.</exception>
    public static double TwoSidedQuantile(double confidence, int degreesOfFreedom)
    {
        if (!(confidence > 0 && confidence < 1))
            throw new ArgumentOutOfRangeException(nameof(confidence), confidence, "The confidence lies between 0 and 1.");
        ArgumentOutOfRangeException.ThrowIfLessThan(degreesOfFreedom, 1);
        double low = 0,
            high = Math.PI / 2;
        for (int halving = 0; halving < Halvings; halving++)
        {
            double middle = (low + high) / 2;
            if (WithinAngle(middle, degreesOfFreedom) < confidence)
                low = middle;
            else
                high = middle;
        }
        return Math.Sqrt(degreesOfFreedom) * Math.Tan((low + high) / 2);
    }

    // angle = atan(t / sqrt(degrees of freedom))
    private static double WithinAngle(double angle, int degreesOfFreedom)
    {
        bool odd = degreesOfFreedom % 2 == 1;
        double cosine = Math.Cos(angle),
            term = odd ? cosine : 1,
            sum = degreesOfFreedom == 1 ? 0 : term;
        for (int k = odd ? 3 : 2; k <= degreesOfFreedom - 2; k += 2)
        {
            term *= (k - 1.0) / k * cosine * cosine;
            sum += term;
        }
        return odd ? 2 / Math.PI * (angle + Math.Sin(angle) * sum) : Math.Sin(angle) * sum;
    }
}
