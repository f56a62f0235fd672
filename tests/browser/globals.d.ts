// The global that vendor/d3.js defines.
import type { format } from "d3-format";
import type { scaleLinear, scaleLog } from "d3-scale";
import type { pointer, select } from "d3-selection";
import type { zoom, zoomIdentity, zoomTransform } from "d3-zoom";

declare global {
    const d3: {
        readonly format: typeof format;
        readonly pointer: typeof pointer;
        readonly scaleLinear: typeof scaleLinear;
        readonly scaleLog: typeof scaleLog;
        readonly select: typeof select;
        readonly zoom: typeof zoom;
        readonly zoomIdentity: typeof zoomIdentity;
        readonly zoomTransform: typeof zoomTransform;
    };
}
