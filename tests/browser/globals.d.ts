// The global that vendor/d3.js defines.
import type { scaleLinear, scaleLog } from "d3-scale";
import type { select } from "d3-selection";
import type { zoom, zoomIdentity } from "d3-zoom";

declare global {
    const d3: {
        readonly scaleLinear: typeof scaleLinear;
        readonly scaleLog: typeof scaleLog;
        readonly select: typeof select;
        readonly zoom: typeof zoom;
        readonly zoomIdentity: typeof zoomIdentity;
    };
}
